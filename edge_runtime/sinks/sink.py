"""Sinks: what takes results; docs/outputs.md names them all."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from crackedge.edge_runtime.frame import Frame
from crackedge.edge_runtime.records import Record, frame_record
from crackedge.edge_runtime.scan.scanner import FrameResult

if TYPE_CHECKING:
    from typing import Self


class RecordSink(Protocol):
    """Takes the records of a run one after the other. A context manager.

    One that may pass frames over has an attribute ``dropped``: how many so far.

    Attributes:
        name: what to call it in messages, without passwords.
    """

    name: str

    def note(self, record: Record) -> None:
        """Take a record.

        Raises:
            OutputError: it cannot be written; the sink takes no more.
        """
        ...

    def finish(self) -> None:
        """Write all that is held back. After this come only notes.

        Raises:
            OutputError: it cannot be written; the sink takes no more.
        """
        ...

    def __enter__(self) -> RecordSink: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Sink(RecordSink, Protocol):
    """Takes the frames of a run one after the other, and the records that are not about one: header, gap, summary."""

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Take one scanned frame.

        Raises:
            OutputError: it cannot be written; the sink takes no more.
        """
        ...

    def __enter__(self) -> Sink: ...


def dropped_by(sink: RecordSink) -> int:
    """How many frames a sink has passed over because it was too slow, or nobody was there to take them."""
    return int(getattr(sink, "dropped", 0))


class Recorded:
    """Gives frames as records to a sink that takes only those, so that no pictures wait where none are wanted.

    Args:
        sink: takes the records.
        scores: whether frames carry the scores of all windows.
    """

    def __init__(self, sink: RecordSink, *, scores: bool = False) -> None:
        self.name = sink.name
        self._sink, self._scores = sink, scores
        self.note, self.finish = sink.note, sink.finish

    @property
    def dropped(self) -> int:
        """Frames passed over."""
        return dropped_by(self._sink)

    def __enter__(self) -> Self:
        self._sink.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sink.__exit__(kind, error, trace)

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Pass a frame on; see :class:`Sink`."""
        self._sink.note(frame_record(frame, result, scores=self._scores))
