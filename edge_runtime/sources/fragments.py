"""Fragments of MP4 files: those behind damage at which FFmpeg ends without a word."""

from __future__ import annotations

import mmap
import re
import struct
from pathlib import Path


def has_fragment_after(path: Path, place: int, *, track: int) -> bool:
    """Whether a fragment with pictures of a track begins in a file at or after a place.

    Args:
        path: the file.
        place: from the beginning, bytes.
        track: number of the track in the file.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if place >= path.stat().st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            # A fragment is "moof" with "mfhd", 16 bytes, first in it; "tfhd" begins with flags and its track.
            fragment = re.compile(
                b"moof\0\0\0\x10mfhd.{8}.{0,4096}?tfhd.{4}" + re.escape(struct.pack(">I", track)), re.DOTALL
            )
            return fragment.search(data, place) is not None
