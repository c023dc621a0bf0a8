"""How the C library keeps memory that was freed.

By itself glibc gives blocks of some hundred kilobytes back to the system whenever they lie at the end of its heap,
and a request of that size then costs a page fault for every four kilobytes, several times: up to four times the CPU
of the request itself (docs/benchmarks.md). What is kept is bounded.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
_KEPT = 16 << 20  # bytes that may stay free at the end of a heap
_OWN_PAGES = 4 << 20  # bytes from which on a block has pages of its own, and is given back at once


def keep_some() -> None:
    """Keep what is freed of small and medium blocks; nothing where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
        mallopt(_M_MMAP_THRESHOLD, _OWN_PAGES)
