"""A frame: one picture of a source, with its place in time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timezone
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.errors import OptionError

Image = npt.NDArray[np.uint8]  # (H, W, 3) uint8, RGB, C-contiguous, as displayed (rotation applied)

DEPTH = 2  # frames that wait between two threads: enough to smooth
_WAITING_BYTES = 40_000_000  # that they may hold; a frame of 4K has 25 MB, and waits alone


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a source.

    Attributes:
        image: (H, W, 3) uint8 RGB, as displayed.
        index: number of the frame in its source, from 0, whether or not those before it are given; of live sources,
            among those that were not dropped.
        time_s: position in the source in seconds (video: its time stamp; live: since the first frame; images without a
            rate: 0).
        captured_at: UTC moment of capture, for live sources.
        dropped_before: frames that a live source passed over since the frame before this one.
        file: path as given, for single images.
        pixel_aspect: width of a pixel to its height, as some cameras' files have it; the image has the file's pixels.
        heard_s: when it came, seconds of ``time.monotonic()``, for live sources: an age that no setting of the clock
            changes.
    """

    image: Image
    index: int
    time_s: float
    captured_at: datetime | None = None
    dropped_before: int = 0
    file: str | None = None
    pixel_aspect: Fraction = Fraction(1)
    heard_s: float | None = None

    def age_s(self) -> float | None:
        """Seconds since it came, or else since its capture by the wall clock; None where neither is known."""
        if self.heard_s is not None:
            return time.monotonic() - self.heard_s
        return None if self.captured_at is None else (datetime.now(timezone.utc) - self.captured_at).total_seconds()


def check_image(image: object) -> Image:
    """The image, when it is one: (H, W, 3) uint8.

    Raises:
        OptionError: it is something else, said by name.
    """
    if not isinstance(image, np.ndarray):
        raise OptionError(f"image of type {type(image).__name__}; expected a numpy array (H, W, 3) uint8, RGB")
    found = f"image of shape {image.shape} and type {image.dtype}"
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        raise OptionError(f"{found} is grey; expected (H, W, 3) uint8 RGB: cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)")
    if image.ndim == 3 and image.shape[2] == 4:
        raise OptionError(f"{found} has four channels; expected (H, W, 3) uint8 RGB: drop alpha, and mind the order")
    if image.ndim != 3 or image.shape[2] != 3:
        raise OptionError(f"{found}; expected (H, W, 3) uint8 RGB, one picture")
    if image.dtype != np.uint8:
        raise OptionError(f"{found}; expected uint8, values 0 to 255")
    if image.size == 0:
        raise OptionError(f"{found} is empty; expected at least one pixel")
    return image


def most_waiting(nbytes: int, depth: int = DEPTH) -> int:
    """How many frames of so many bytes may wait between two threads: ``depth``, fewer where they are large, but one."""
    return max(1, min(depth, _WAITING_BYTES // max(1, nbytes)))
