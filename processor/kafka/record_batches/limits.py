"""The bound on the memory of one record batch."""

from typing import Final

DEFAULT_MAX_BATCH_BYTES: Final = 64 * 1024 * 1024
