"""Native memory: what large blocks become when they are freed."""

from __future__ import annotations

import ctypes
import sys

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
_LARGE_BYTES = 8 << 20  # more than a 1080p frame, less than one of 4K


def return_large_blocks() -> bool:
    """Let the C library return blocks of more than 8 MiB to the system as soon as they are freed.

    glibc keeps blocks of up to 32 MiB for itself once one of their size was freed, and 4K frames that come and go in
    four threads leave gaps: a run over 4K video took 100 MB more. Smaller frames are kept, which is faster. For
    programs, not for a library: it holds for the whole process.

    Returns:
        Whether this C library can.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES) == 1
