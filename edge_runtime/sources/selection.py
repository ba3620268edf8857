"""Selection: which frames of a source are given, by their times and numbers. Those given keep both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from crackedge.edge_runtime.errors import SourceError

T = TypeVar("T")

_CLOSE_S = 5e-4  # containers round time stamps, Matroska to milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Frames from ``start_s`` on and before ``end_s``: the first of them, and then every so often another.

    Attributes:
        start_s: position from which on, seconds.
        end_s: position before which, seconds; None for the end of the source.
        every: from one frame given to the next, frames.
        every_s: from one frame given to the next, seconds; 0 for all.
    """

    start_s: float = 0.0
    end_s: float | None = None
    every: int = 1
    every_s: float = 0.0

    def of(self, candidates: Iterable[tuple[int, float, T]]) -> Iterator[tuple[int, float, T]]:
        """Those selected among index, position in seconds, and whatever goes with them, in order of position."""
        due_index, due_s, first_s = 0, self.start_s, math.inf
        for index, time_s, one in candidates:
            if self.end_s is not None and time_s > self.end_s - _CLOSE_S:
                return
            if index < due_index or time_s < due_s - _CLOSE_S:
                continue
            first_s = min(first_s, time_s)
            due_index = index + self.every
            if self.every_s > 0:  # on a schedule, or a rate that does not divide it would add up
                due_s = first_s + self.every_s * (math.floor((time_s - first_s + _CLOSE_S) / self.every_s) + 1)
            yield index, time_s, one

    def count(self, frames: int | None, *, fps: float | None) -> int | None:
        """How many of so many frames will be given; an estimate, None where nobody knows."""
        if frames is None:
            return None
        last = frames
        if fps and self.end_s is not None:
            last = min(last, math.ceil((self.end_s - _CLOSE_S) * fps))
        first = math.ceil((self.start_s - _CLOSE_S) * fps) if fps and self.start_s else 0
        return math.ceil(max(0, last - first) / max(self.every, self.every_s * (fps or 0.0)))

    def rate(self, fps: float | None) -> float | None:
        """Nominal frames given per second of the source."""
        if fps is None:
            return None
        return fps / max(self.every, math.ceil(self.every_s * fps - _CLOSE_S * fps))

    def nothing(self, uri: str, *, duration_s: float) -> SourceError:
        """What to raise where a source has frames, but none of those."""
        until = "" if self.end_s is None else f" and before {self.end_s:g} s"
        return SourceError(
            f"{uri}: no frame from {self.start_s:g} s on{until}; it is {duration_s:.1f} s long, give other times"
        )
