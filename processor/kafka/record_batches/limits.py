"""The bounds on the memory of record batches."""

from typing import Final

DEFAULT_MAX_BATCH_BYTES: Final = 64 * 1024 * 1024
"""Of one batch, decompressed."""
TAKEN_BYTES: Final = 16 * 1024 * 1024
"""Of the batches that are taken in one call, decompressed; the call ends with the batch that passes it."""
