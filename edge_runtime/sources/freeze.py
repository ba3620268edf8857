"""Freezes: a camera that goes on sending and shows nothing new.

The noise of a sensor makes every picture different. Pictures that are equal bit by bit, for seconds, come from a
camera, encoder or driver that repeats itself, or show a scene that was drawn. Which of the two it is cannot be seen
from here: so it is said, and nothing is withheld.
"""

from __future__ import annotations

import zlib
from collections import deque

from crackedge.edge_runtime.frame import Image

_ROWS = 64  # looked at, spread over the picture: noise is in all of them, and they cost a fraction of a millisecond
_CYCLE = 16  # pictures of a ring of buffers that may come round again and again


class FreezeWatch:
    """Notices that pictures repeat themselves, one by one or in a small circle.

    Args:
        after_s: seconds without a new picture that make a freeze; 0: none is ever noticed.

    Attributes:
        frozen: whether there is one now.
        new_s: position of the last new picture.
    """

    def __init__(self, after_s: float) -> None:
        self.frozen = False
        self.new_s = 0.0
        self._after_s = after_s
        self._known: deque[int] = deque(maxlen=_CYCLE)

    def see(self, image: Image, at_s: float) -> None:
        """Look at the next picture.

        Args:
            image: (H, W, 3) uint8.
            at_s: its position, seconds.
        """
        if not self._after_s:
            return
        digest = zlib.crc32(image[:: max(1, image.shape[0] // _ROWS)].tobytes())
        if digest in self._known:
            self.frozen = at_s - self.new_s >= self._after_s
        else:
            self.frozen = False
            self.new_s = at_s
            self._known.append(digest)
