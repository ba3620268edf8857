"""Outputs: the sinks of one run together; one that fails is left out, and the run goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from crackedge.edge_runtime.errors import CrackedgeError, OutputError
from crackedge.edge_runtime.frame import Frame
from crackedge.edge_runtime.notices import Notices
from crackedge.edge_runtime.records import Record, gap_record, setting_record
from crackedge.edge_runtime.scan.scanner import FrameResult, Plan
from crackedge.edge_runtime.sinks.sink import Sink, dropped_by
from crackedge.edge_runtime.sources.source import Source
from crackedge.edge_runtime.tally import DroppedFrames, LostOutput


class Outputs:
    """The sinks that still work, and what became of the others.

    Args:
        sinks: entered.
        source: whose losses are to be told.
        notices: what the sinks have to tell.
        on_warning: called with a line about what went wrong.
        told_gaps: how many of the source's gaps an interrupted run has told already.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        source: Source,
        notices: Notices,
        on_warning: Callable[[str], None],
        *,
        told_gaps: int,
    ) -> None:
        self._all, self._sinks, self._source = tuple(sinks), list(sinks), source
        self._notices, self._on_warning = notices, on_warning
        self._lost: list[LostOutput] = []
        self._told_gaps, self._told_skips = told_gaps, 0
        self._told_threshold: float | None = None

    @property
    def lost(self) -> tuple[LostOutput, ...]:
        """Those that are not whole."""
        return tuple(self._lost)

    @property
    def none_left(self) -> bool:
        """Whether there were some, and all of them failed: nobody would ever know what is found from now on."""
        return bool(self._all) and not self._sinks

    @property
    def dropped(self) -> tuple[DroppedFrames, ...]:
        """Those that passed frames over."""
        return tuple(DroppedFrames(sink.name, dropped_by(sink)) for sink in self._all if dropped_by(sink))

    def begin(self, header: Record, plan: Plan) -> None:
        """Give the header to all; it tells the plan.

        Raises:
            OutputError: one of them cannot be written.
        """
        self._told_threshold = plan.window_threshold
        for sink in self._sinks:
            sink.note(header)

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Give a frame to those that work."""
        self._each(lambda sink: sink.write(frame, result))

    def note(self, record: Record) -> None:
        """Give a record to those that work."""
        self._each(lambda sink: sink.note(record))

    def finish(self) -> None:
        """Let them write what they hold back."""
        self._each(lambda sink: sink.finish())

    def _each(self, do: Callable[[Sink], None]) -> None:
        for sink in list(self._sinks):
            try:
                do(sink)
            except OutputError as error:  # noqa: PERF203 - one that fails must not keep the others from theirs
                self._sinks.remove(sink)
                self._lost.append(LostOutput(sink.name, str(error)))
                others = ", ".join(other.name for other in self._sinks) or "nothing, so the run ends"
                self._on_warning(f"{error}; still written: {others}")

    def tell_setting(self, plan: Plan, *, before_index: int) -> None:
        """Pass on a threshold that somebody changed since the last time."""
        if plan.window_threshold != self._told_threshold:
            self._told_threshold = plan.window_threshold
            self.note(setting_record(plan, before_index=before_index))

    def tell_notices(self) -> None:
        """Pass on what the sinks have to tell."""
        for notice in self._notices.take():
            if isinstance(notice, str):
                self._on_warning(notice)
            else:
                self.note(notice)

    def tell_drops(self) -> None:
        """Say at the end which sinks could not keep up."""
        for one in self.dropped:
            frames = "1 frame" if one.frames == 1 else f"{one.frames} frames"
            self._on_warning(f"{one.output}: {frames} passed over, because it was too slow or not there")

    def tell_losses(self, *, before_index: int | None = None, error: CrackedgeError | None = None) -> None:
        """Pass on what the source lost since the last time: before a frame, or all, and what ended it."""
        while self._source.remarks:
            self._on_warning(self._source.remarks.pop(0))
        for skip in self._source.skipped[self._told_skips :]:
            self._told_skips += 1
            self._on_warning(f"{skip.file}: skipped, {skip.reason}")
        for gap in self._source.gaps[self._told_gaps :]:
            if before_index is not None and gap.before_index > before_index:
                break  # the reader is ahead
            self._told_gaps += 1
            lasting = "" if gap.seconds is None else f", {gap.seconds:.1f} s missing"
            if error is None:  # which says the same
                self._on_warning(f"{self._source.uri}: {gap.reason} at {gap.time_s:.1f} s{lasting}")
            self.note(gap_record(gap))
        if error is not None:
            self._on_warning(str(error))
