"""The common options of all these clients."""

from typing import Final

from aiokafka.errors import KafkaError

STOP_DEADLINE: Final = 5.0
REQUEST_DEADLINE: Final = 30.0

CLIENT_ERRORS: Final = (KafkaError, TimeoutError, OSError, AssertionError, LookupError)
"""What any call of a client raises while Kafka is away. aiokafka asserts that it knows a broker, and metadata may
list none; an answer may leave out what was asked.
"""
