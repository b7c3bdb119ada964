"""The common options of all these clients."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from aiokafka.errors import KafkaError

ClientOptions = Callable[[], Mapping[str, Any]]
"""Keyword arguments of every aiokafka client: servers and security. Called for each client, because secrets rotate."""

STOP_DEADLINE: Final = 5.0
REQUEST_DEADLINE: Final = 30.0

CLIENT_ERRORS: Final = (KafkaError, TimeoutError, OSError, AssertionError, LookupError)
"""What any call of a client raises while Kafka is away. aiokafka asserts that it knows a broker, and metadata may
list none; an answer may leave out what was asked.
"""
