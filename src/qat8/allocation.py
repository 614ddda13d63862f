"""glibc's memory, for programs that take and free the same large arrays again and again."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def keep() -> None:
    """Give nothing back to the kernel until the program ends; it would hand it out again full of zeros. mallopt(3)."""
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, -1)
