"""Ably, by its Python SDK. This package is the only one that imports it; importing the package alone does not."""

from typing import Final

LOGGERS: Final = ("ably",)
"""Loggers of the SDK. At info they write the connection's URL with the API key and every message."""
