"""Sources and sinks that measure: a camera that does not wait, a video that never ends, and when results arrive.

They stand where real ones stand in a run, so that what is timed is the run itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from crackedge.benchmarks.sampling import Capture, Clock, newest_captures
from crackedge.edge_runtime.frame import Frame, Image
from crackedge.edge_runtime.records import Record
from crackedge.edge_runtime.scan.scanner import FrameResult
from crackedge.edge_runtime.sinks.marked_video import VideoSink
from crackedge.edge_runtime.sources.addresses import Kind
from crackedge.edge_runtime.sources.opening import open_source
from crackedge.edge_runtime.sources.source import Gap, Skipped

if TYPE_CHECKING:
    from typing import Self


class _Feed:
    """What a source says of itself besides its frames."""

    def __init__(self, name: str, *, fps: float | None) -> None:
        self.uri = self.name = name
        self.fps = fps
        self.frame_count: int | None = None
        self.width: int | None = None
        self.height: int | None = None
        self.skipped: list[Skipped] = []
        self.gaps: list[Gap] = []
        self.remarks: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class CameraFeed(_Feed):
    """A live source that gives the newest of a camera's frames; see :func:`newest_captures`.

    Attributes:
        taken: each frame that somebody took, and when.
    """

    kind: Kind = "camera"
    live = True

    def __init__(
        self,
        images: Sequence[Image],
        *,
        fps: float,
        duration_s: float,
        clock: Clock = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__("camera", fps=fps)
        self.taken: list[tuple[Capture, float]] = []
        self._images, self._duration_s, self._clock, self._sleep = images, duration_s, clock, sleep

    def __iter__(self) -> Iterator[Frame]:
        assert self.fps is not None
        before = -1
        captures = newest_captures(fps=self.fps, duration_s=self._duration_s, clock=self._clock, sleep=self._sleep)
        for index, capture in enumerate(captures):
            self.taken.append((capture, self._clock()))
            yield Frame(
                self._images[capture.number % len(self._images)],
                index,
                capture.number / self.fps,
                captured_at=datetime.now(timezone.utc),
                dropped_before=capture.number - before - 1,
            )
            before = capture.number


class LoopedClip(_Feed):
    """A video file, again and again until the time is over.

    Attributes:
        decode_ms: of each frame: reading, decoding, conversion to RGB.

    Raises:
        SourceError: while iterating: the file is no video.
    """

    kind: Kind = "video"
    live = False

    def __init__(self, path: Path, *, duration_s: float, least_frames: int, clock: Clock = time.perf_counter) -> None:
        super().__init__(path.name, fps=None)
        self.decode_ms: list[float] = []
        self._path, self._duration_s, self._least, self._clock = path, duration_s, least_frames, clock

    def __iter__(self) -> Iterator[Frame]:
        end_s, start_s = self._clock() + self._duration_s, 0.0
        while True:
            with open_source(self._path) as source:
                frames = iter(source)
                step_s = 1 / (source.fps or 25.0)
                time_s = 0.0
                while (timed := self._next(frames)) is not None:
                    time_s = start_s + timed.time_s
                    yield replace(timed, index=len(self.decode_ms) - 1, time_s=time_s)
                    if self._clock() >= end_s and len(self.decode_ms) >= self._least:
                        return
            start_s = time_s + step_s

    def _next(self, frames: Iterator[Frame]) -> Frame | None:
        before = self._clock()
        frame = next(frames, None)
        if frame is not None:
            self.decode_ms.append((self._clock() - before) * 1e3)
        return frame


@dataclass(frozen=True, slots=True)
class Arrival:
    """A result that has reached every sink.

    Attributes:
        at_s: when, by the clock.
        timing_ms: of the scan, by stage.
    """

    at_s: float
    timing_ms: dict[str, float]


class ArrivalSink:
    """Notes when results arrive. Stands last, so that all other sinks have taken them."""

    def __init__(self, *, clock: Clock = time.perf_counter) -> None:
        self.name = "arrivals"
        self.arrivals: list[Arrival] = []
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, frame: Frame, result: FrameResult) -> None:  # noqa: ARG002 - a sink is given both
        """Note the moment; see :class:`crackedge.edge_runtime.sinks.sink.Sink`."""
        self.arrivals.append(Arrival(self._clock(), dict(result.timing_ms)))

    def note(self, record: Record) -> None:
        """Only frames arrive."""

    def finish(self) -> None:
        """Nothing is held back."""


class TimedVideoSink(VideoSink):
    """A marked video that remembers how long each frame took, by stage."""

    def __init__(self, path: Path, *, fps: float | None = None) -> None:
        super().__init__(path, fps=fps)
        self.stages_ms: list[dict[str, float]] = []

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Mark and encode; see :class:`crackedge.edge_runtime.sinks.sink.Sink`."""
        super().write(frame, result)
        self.stages_ms.append(self.timing_ms)
