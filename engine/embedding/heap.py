"""What tensors leave behind is kept for the next ones, where glibc allocates.

Each operation on a CPU allocates its result and frees it soon after. What is large glibc asks of
the system and gives back, and the system hands every page out anew, zeroed: as much time as a
tenth to a sixth of a pass in float32 (``python -m tests.benchmarks.heap``).
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h

LARGEST = 32 << 20
"""Bytes; what is larger is asked of the system each time. glibc takes no larger bound."""

KEPT = 256 << 20
"""Bytes of free memory at the end of a heap that are kept."""


def keep_freed_memory() -> bool:
    """Have this process keep freed memory of up to :data:`LARGEST` bytes apiece for what comes.

    It holds for all that the process allocates; what it holds at most stays the same. By itself
    glibc comes to keep some of it, but gives back what it happens to find at the end of a heap.

    Returns:
        Whether it does: not where another allocator than glibc's is used, nor outside of Linux.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGEST) and mallopt(_M_TRIM_THRESHOLD, KEPT))
