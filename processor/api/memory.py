"""Memory that answers used goes back to the system."""

import ctypes
import sys

_M_MMAP_THRESHOLD = -3
LARGE_BYTES = 256 * 1024


def release_large_buffers() -> None:
    """Lets glibc map each large buffer on its own, so that freeing it gives its memory back.

    By default glibc raises the limit for that with each large buffer freed, to 32 MiB, and then keeps the pages of all
    threads' buffers: the api's answers took twice the memory they had. Other C libraries are left as they are.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
