"""Views: a source seen in another way: turned, over and over, at its own pace, or less often."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from crackedge.edge_runtime.frame import Frame, Image
from crackedge.edge_runtime.sources.live import LiveSource
from crackedge.edge_runtime.sources.orientation import oriented
from crackedge.edge_runtime.sources.reader import Picture
from crackedge.edge_runtime.sources.selection import Selection
from crackedge.edge_runtime.sources.source import Source, SourceOptions

if TYPE_CHECKING:
    from typing import Self

_LOOK_S = 0.05  # how often a reader that waits for its time looks whether it is left
_GUESSED_FPS = 25.0


class View:
    """A source with other frames made of its own. It closes the source.

    Args:
        source: what to look at.
        frames: makes the frames of one pass over it.
    """

    def __init__(self, source: Source, frames: Callable[[Source], Iterator[Frame]]) -> None:
        self._source, self._frames = source, frames
        self.uri, self.name, self.kind, self.live = source.uri, source.name, source.kind, source.live
        self.frame_count, self.fps = source.frame_count, source.fps
        self.width, self.height = source.width, source.height
        self.skipped, self.gaps, self.remarks = source.skipped, source.gaps, source.remarks  # the very lists: they grow

    def __iter__(self) -> Iterator[Frame]:
        return self._frames(self._source)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.__exit__(kind, error, trace)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)  # what some sources have besides, such as a live one's status


def turned(source: Source, *, rotate: int, flip: str) -> Source:
    """Its frames as :func:`crackedge.edge_runtime.sources.orientation.oriented` gives them."""

    def frames(source: Source) -> Iterator[Frame]:
        for frame in source:
            image = oriented(frame.image, rotate=rotate, flip=flip)
            aspect = 1 / frame.pixel_aspect if rotate % 180 else frame.pixel_aspect
            yield dataclasses.replace(frame, image=image, pixel_aspect=aspect)

    view = View(source, frames)
    if rotate % 180:
        view.width, view.height = source.height, source.width
    return view


def looped(source: Source) -> Source:
    """Its frames over and over. Numbers and positions go on: each round adds what the first one has."""

    def frames(source: Source) -> Iterator[Frame]:
        step_s = 1 / (source.fps or _GUESSED_FPS)
        ahead, ahead_s = 0, 0.0
        while True:
            first = last = None
            for frame in source:
                last = dataclasses.replace(frame, index=frame.index + ahead, time_s=frame.time_s + ahead_s)
                first = first or last
                yield last
            if first is None or last is None:
                return
            ahead, ahead_s = ahead + last.index + 1 - first.index, ahead_s + last.time_s + step_s - first.time_s

    view = View(source, frames)
    view.frame_count = None
    return view


def spaced(source: Source, every_s: float) -> Source:
    """One frame in so many seconds of a live source; the others are counted as dropped."""
    selection = Selection(every_s=every_s)

    def frames(source: Source) -> Iterator[Frame]:
        seen = dropped = 0

        def candidates() -> Iterator[tuple[int, float, Frame]]:
            nonlocal seen, dropped
            for frame in source:
                seen, dropped = seen + 1, dropped + frame.dropped_before
                yield frame.index, frame.time_s, frame

        for _, _, frame in selection.of(candidates()):
            yield dataclasses.replace(frame, dropped_before=dropped + seen - 1)
            seen = dropped = 0

    view = View(source, frames)
    view.fps = selection.rate(source.fps)
    return view


def paced(source: Source, options: SourceOptions, *, stop: Callable[[], bool]) -> Source:
    """The source as if it were live: the newest of its frames, which come at their own pace, and the others dropped."""
    shown = _Shown()
    live = LiveSource(
        lambda: PacedCapture(source, shown),
        uri=source.uri,
        name=source.name,
        kind=source.kind,
        options=options,
        may_end=True,
        stop=stop,
    )
    live.skipped, live.remarks = source.skipped, source.remarks
    told = 0

    def tell_gaps(*, up_to: float, before_index: int) -> None:
        nonlocal told
        while told < len(source.gaps) and source.gaps[told].before_index <= up_to:
            live.gaps.append(dataclasses.replace(source.gaps[told], before_index=before_index))
            told += 1

    def frames(live: Source) -> Iterator[Frame]:
        given = 0
        for frame in live:
            tell_gaps(up_to=shown.index, before_index=frame.index)
            given = frame.index + 1
            yield frame
        tell_gaps(up_to=math.inf, before_index=given)

    return View(live, frames)


class _Shown:
    """The index in its own source of the frame that was given last."""

    index = -1


class PacedCapture:
    """A source as a :class:`crackedge.edge_runtime.sources.reader.Capture`. It closes the source.

    Each picture has its place on one schedule, so that a late one does not delay those after it.

    Args:
        source: read from now on.
        shown: told which frame is given, when somebody takes it.

    Raises:
        SourceError: not one frame can be read.
    """

    def __init__(self, source: Source, shown: _Shown) -> None:
        self.fps, self.width, self.height = source.fps, source.width, source.height
        self._source, self._shown = source, shown
        self._frames = iter(source)
        self._next = next(self._frames, None)  # here, so that a source without frames says so when it is opened
        self._zero_s = time.monotonic() - (self._next.time_s if self._next else 0.0)

    def grab(self) -> Picture | None:
        """The next picture, or None before its time.

        Raises:
            EOFError: there are no more.
        """
        frame, self._next = self._next or next(self._frames, None), None
        if frame is None:
            raise EOFError
        wait_s = self._zero_s + frame.time_s - time.monotonic()
        if wait_s > _LOOK_S:
            self._next = frame
        if wait_s > 0:
            time.sleep(min(wait_s, _LOOK_S))
        return None if self._next else lambda: self._picture(frame)

    def _picture(self, frame: Frame) -> Image:
        self._shown.index = frame.index
        return frame.image

    def close(self) -> None:
        """Close the source. May be called again."""
        self._source.__exit__(None, None, None)
