"""Returns the memory of answers to the system."""

import ctypes
import sys

_M_MMAP_THRESHOLD = -3
LARGE_BYTES = 256 * 1024


def release_large_buffers() -> None:
    """Lets glibc map each large buffer separately, so that freeing it returns its memory.

    By default glibc raises the threshold for this with each large buffer freed, up to 32 MiB, and then keeps the
    pages of all threads' buffers: the api used twice the memory of its answers. Other C libraries are unchanged.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
