"""Native memory: what large blocks become when they are freed."""

from __future__ import annotations

import ctypes
import sys

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
_LARGE_BYTES = 4 << 20  # less than a 1080p frame


def return_large_blocks() -> bool:
    """Let the C library return blocks of more than 4 MiB to the system as soon as they are freed.

    glibc keeps blocks of up to 32 MiB for itself once one of their size was freed, and frames that come and go in four
    threads leave gaps: a run over 4K video took 130 MB more. New memory for each frame costs no time that could be
    measured. For programs, not for a library: it holds for the whole process.

    Returns:
        Whether this C library can.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES) == 1
