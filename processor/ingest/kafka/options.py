"""What all of these clients share."""

from collections.abc import Callable, Mapping
from typing import Any, Final

ClientOptions = Callable[[], Mapping[str, Any]]
"""Keyword arguments every aiokafka client gets: servers and security. Asked anew for each client: secrets rotate."""

STOP_DEADLINE: Final = 5.0
REQUEST_DEADLINE: Final = 30.0
