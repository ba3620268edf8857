"""Losses of a video file: what its gaps are, told when the decoder has given what it held back."""

from __future__ import annotations

import math
from collections.abc import Callable

from crackedge.edge_runtime.sources.source import Gap

DAMAGE = "damaged data"

_MOST_REORDERED = 16  # pictures that a decoder holds back, and so gives after damaged data that came later
_MANY = 10  # steps of the same length make a constant rate
_SHORT_S = 1.0  # a file that ends by this much before its declared end is reported


class Losses:
    """Makes gaps of what was lost between the pictures of a file.

    Args:
        tell: given each gap, before the picture after it.
        step_s: nominal time from one picture to the next, seconds.
        tick_s: by which time stamps are rounded, seconds.
        is_silent: whether damage passes without a word, so that a jump in a constant rate is all there is to see of it.

    Attributes:
        reason: of a loss that is not told yet; empty where there is none.
    """

    def __init__(self, tell: Callable[[Gap], None], *, step_s: float, tick_s: float, is_silent: bool) -> None:
        self.reason = ""
        self._tell, self._step_s, self._tick_s, self._is_silent = tell, step_s, tick_s, is_silent
        self._at, self._since_s = 0, 0.0
        self._steady = 0.0  # steps of the nominal length since the beginning; less than nothing after another one

    def add(self, reason: str, *, index: int, last_s: float) -> None:
        """Data was lost when so many pictures had come, the last of them at a position."""
        if not self.reason:
            self._since_s = max(last_s, 0.0)
        self.reason, self._at = reason, index

    def begin_anew(self, *, index: int, last_s: float) -> None:
        """Time stamps begin anew with a picture; that the stream breaks there is no further loss."""
        self.reason = ""
        self._tell(Gap("time stamps begin anew", index, max(last_s, 0.0)))

    def step(self, took_s: float, *, index: int, last_s: float) -> None:
        """A picture comes so long after the last one."""
        missing = took_s > 1.5 * self._step_s
        reason = self.reason or (DAMAGE if missing and self._is_silent and self._steady >= _MANY else "")
        is_nominal = abs(took_s - self._step_s) <= 1.01 * self._tick_s
        self._steady = self._steady + 1 if is_nominal else -math.inf
        if reason and missing:
            self._tell(Gap(reason, index, max(last_s, 0.0), took_s))
        elif reason and index - self._at > _MOST_REORDERED:
            self._tell(Gap(reason, index, self._since_s))
        else:
            return
        self.reason = ""

    def end(self, missing_s: float, *, index: int, last_s: float) -> None:
        """There are no more pictures, so long before the declared end."""
        if missing_s > _SHORT_S:
            self._tell(Gap(self.reason or "the file ends before its declared end", index, last_s, missing_s))
        elif self.reason:
            self._tell(Gap(self.reason, index, last_s))
