"""The adapter for Ably, over its Python SDK. Only this package imports the SDK; importing the package alone does not."""

from typing import Final

LOGGERS: Final = ("ably",)
"""Loggers of the SDK. At info they write the connection's URL with the API key and every message."""
