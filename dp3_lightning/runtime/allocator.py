"""Make the C library's allocator keep large blocks after they are freed.

glibc returns every block above 32 MB (at first above 128 KB) to the operating system as soon as it
is freed, and each new activation then costs page faults: twice the time at batch 8 on a CPU.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # numbers of malloc.h
_KEEP_BYTES = 2**31 - 1  # what may stay free at the top of the heap; the largest C int


def keep_freed_memory() -> bool:
    """Reuse freed blocks within this process; memory is returned when the process ends.

    Returns:
        Whether the allocator took the hints: False on other systems than Linux with glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has no mallopt
        return False
    took = [mallopt(_M_MMAP_MAX, 0), mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)]
    return all(took)
