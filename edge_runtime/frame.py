"""A frame: one picture of a source, with its place in time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]  # (H, W, 3) uint8, RGB, C-contiguous, as displayed (rotation applied)


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a source.

    Attributes:
        image: (H, W, 3) uint8 RGB, as displayed.
        index: number of the frame in its source, from 0; passed-over frames are not counted.
        time_s: position in the source in seconds (video: its time stamp; live: since the first frame; images: 0).
        captured_at: UTC moment of capture, for live sources.
        dropped_before: frames that a live source passed over since the frame before this one.
        file: path as given, for single images.
    """

    image: Image
    index: int
    time_s: float
    captured_at: datetime | None = None
    dropped_before: int = 0
    file: str | None = None
