"""The bound on what one record batch may take in memory."""

from typing import Final

DEFAULT_MAX_BATCH_BYTES: Final = 64 * 1024 * 1024
