"""The tally of a run: what is counted while it lasts, and what is said of it at the end."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

from crackedge.edge_runtime.errors import CrackedgeError
from crackedge.edge_runtime.frame import Frame
from crackedge.edge_runtime.scan.scanner import FrameResult
from crackedge.edge_runtime.sources.source import Skipped, Source

Reason = Literal["end", "max-frames", "interrupted", "lost"]

_RATE_OVER_S = 5.0
_COUNTED = ("reason", "frames", "cracked_frames", "regions", "seconds", "fps", "dropped", "gaps")


@dataclass(frozen=True, slots=True)
class LostOutput:
    """An output that is not whole, and why."""

    output: str
    reason: str


@dataclass(frozen=True, slots=True)
class DroppedFrames:
    """An output of a live source that passed frames over, and how many."""

    output: str
    frames: int


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an interrupted run has done already.

    Attributes:
        frames: how many frames it scanned.
        cracked_frames: how many of them have a crack region.
        regions: how many regions they have together.
        gaps: how many of the source's gaps it told.
        next_index: of the first frame that is still to be scanned.
        files: of the scanned images, for a source of images.
        threshold: of windows, where somebody changed it.
        resumed: whether there was such a run; its results have a header then.
    """

    resumed: bool = False
    frames: int = 0
    cracked_frames: int = 0
    regions: int = 0
    gaps: int = 0
    next_index: int = 0
    files: tuple[str, ...] = ()
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        source: name of the source.
        live: whether it is live: then there is an age and no end.
        frames: how many were scanned.
        total: how many there will be; an estimate, None where nobody knows.
        fps: frames per second over the last seconds.
        remaining_s: until the end; None where nobody knows.
        cracked_frames: how many have a crack region.
        regions: how many regions the newest frame has.
        dropped: frames that a live source passed over.
        age_s: of the newest frame when its result was there, seconds; None unless live.
    """

    source: str
    live: bool
    frames: int
    total: int | None
    fps: float
    remaining_s: float | None
    cracked_frames: int
    regions: int
    dropped: int
    age_s: float | None

    def __str__(self) -> str:
        """One line for a terminal."""
        of_total = f"/{self.total} ({100 * self.frames // self.total} %)" if self.total else ""
        parts = [f"{self.source}: frame {self.frames}{of_total}", f"{self.fps:.1f} frames/s"]
        if self.remaining_s is not None:
            minutes, seconds = divmod(round(self.remaining_s), 60)
            parts.append(f"{minutes}:{seconds:02d} left")
        if self.age_s is not None:
            parts.append(f"age {self.age_s:.2f} s, {self.dropped} dropped, {self.regions} in view")
        parts.append(f"{self.cracked_frames} with cracks")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of one source.

    Attributes:
        source: what it was opened from, without passwords.
        part: name of its subfolder, where several sources were run.
        live: whether it is live.
        reason: why it ended: ``"end"`` of the source, ``"max-frames"``, ``"interrupted"``, or ``"lost"`` with an error.
        frames: how many were scanned.
        cracked_frames: how many of them have a crack region.
        regions: how many regions they have together.
        seconds: from the first frame's request to the last result; of a resumed run, since it went on.
        fps: frames a second over these; 0 where there are none.
        dropped: frames that a live source passed over.
        gaps: how often data was missing in between.
        skipped: files passed over.
        lost_outputs: outputs that are not whole.
        dropped_by_sink: outputs that were too slow for a live source, and for how many frames; they are not lost.
        error: what ended it, where something did.
    """

    source: str
    part: str | None
    live: bool
    reason: Reason
    frames: int
    cracked_frames: int
    regions: int
    seconds: float
    fps: float
    dropped: int
    gaps: int
    skipped: tuple[Skipped, ...]
    lost_outputs: tuple[LostOutput, ...]
    error: CrackedgeError | None
    dropped_by_sink: tuple[DroppedFrames, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the run came to its end with all that it should have written; live ones end when told to."""
        ended = self.reason in ("end", "max-frames") or (self.live and self.reason == "interrupted")
        return ended and not self.lost_outputs


def summary_of(record: dict[str, Any], *, source: str, part: str | None) -> Summary:
    """The summary that a complete run over a file left in its results."""
    return Summary(
        source=source,
        part=part,
        live=False,
        error=None,
        skipped=tuple(Skipped(**one) for one in record["skipped"]),
        lost_outputs=(),
        **{name: record[name] for name in _COUNTED},
    )


class Tally:
    """Counts the frames of one source, on from those of an interrupted run. The clock runs from its making."""

    def __init__(self, source: Source, *, part: str | None, max_frames: int | None, earlier: Earlier) -> None:
        self.frames = self._earlier_frames = earlier.frames
        self._source, self._part, self._max_frames = source, part, max_frames
        self._cracked_frames, self._regions = earlier.cracked_frames, earlier.regions
        self._regions_now = self._dropped = 0
        self._age_s: float | None = None
        self._start_s = self._end_s = time.perf_counter()
        self._recent: deque[tuple[float, int]] = deque([(self._start_s, self.frames)])

    def add(self, frame: Frame, result: FrameResult) -> None:
        """Count a frame."""
        self.frames += 1
        self._cracked_frames += result.cracked
        self._regions_now = len(result.regions)
        self._regions += self._regions_now
        self._dropped += frame.dropped_before
        self._age_s = frame.age_s()
        self._end_s = time.perf_counter()
        self._recent.append((self._end_s, self.frames))
        while len(self._recent) > 2 and self._end_s - self._recent[0][0] > _RATE_OVER_S:
            self._recent.popleft()

    def progress(self) -> Progress:
        """How far it is."""
        (then_s, then), (now_s, now) = self._recent[0], self._recent[-1]
        fps = (now - then) / (now_s - then_s) if now_s > then_s else 0.0
        totals = [count for count in (self._source.frame_count, self._max_frames) if count is not None]
        total = max(min(totals), self.frames) if totals else None  # headers may say too little
        known = total is not None and fps > 0 and not self._source.live
        return Progress(
            source=self._source.name,
            live=self._source.live,
            frames=self.frames,
            total=total,
            fps=fps,
            remaining_s=(total - self.frames) / fps if known and total is not None else None,
            cracked_frames=self._cracked_frames,
            regions=self._regions_now,
            dropped=self._dropped,
            age_s=self._age_s,
        )

    def summary(
        self,
        *,
        interrupted: bool,
        error: CrackedgeError | None,
        lost_outputs: tuple[LostOutput, ...],
        dropped_by_sink: tuple[DroppedFrames, ...],
    ) -> Summary:
        """What became of it."""
        reason: Reason = "end"
        if error is not None:
            reason = "lost"
        elif interrupted:
            reason = "interrupted"
        elif self._max_frames is not None and self.frames >= self._max_frames:
            reason = "max-frames"
        seconds = self._end_s - self._start_s
        return Summary(
            source=self._source.uri,
            part=self._part,
            live=self._source.live,
            reason=reason,
            frames=self.frames,
            cracked_frames=self._cracked_frames,
            regions=self._regions,
            seconds=seconds,
            fps=(self.frames - self._earlier_frames) / seconds if seconds > 1e-6 else 0.0,
            dropped=self._dropped,
            gaps=len(self._source.gaps),
            skipped=tuple(self._source.skipped),
            lost_outputs=lost_outputs,
            dropped_by_sink=dropped_by_sink,
            error=error,
        )
