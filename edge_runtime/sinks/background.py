"""Sinks in the background: each in a thread of its own, so that a slow or dead one holds up nobody."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from crackedge.edge_runtime.errors import OutputError
from crackedge.edge_runtime.frame import DEPTH, Frame, most_waiting
from crackedge.edge_runtime.records import Record
from crackedge.edge_runtime.scan.scanner import FrameResult
from crackedge.edge_runtime.sinks.sink import RecordSink, Sink, dropped_by
from crackedge.edge_runtime.stop import LOOK_S, StopFlag

if TYPE_CHECKING:
    from typing import Self

_NOTES = 64  # records beside the frames that may wait for a sink that is not waited for
_FIRST_S = 2.0  # for a header: a sink that fails at once should say so before the first frame
_LIVE_END_S = 5.0  # for a sink of a live source, to write what it holds back
_STOP_S = 1.3  # the same once somebody asked to stop: signals end a run within 2 s
_STUCK_S = 0.7  # a frame that then takes longer does not come back in time either
_LAST_S = 0.3  # however late it is


class BackgroundSink:
    """A sink in a thread of its own, which is a few frames behind. A context manager.

    For a file, the run waits for a slower sink. For a live source it does not: the oldest frame that waits is dropped
    and counted; other records are kept. What the sink raises is raised by the next call, that of a header or summary
    by the same; the thread then lets go of everything it is given, so that nobody waits for a dead sink. One that
    hangs cannot hold up the end: it is given up as lost, and its thread ends when it comes back, or with the process.

    Args:
        sink: called by the thread only, but for its ``__enter__``.
        live: whether frames are dropped instead of waited for.
        depth: how many frames may wait, where they are not large.
        stop: when to be quick about the end.
    """

    def __init__(
        self, sink: RecordSink, *, live: bool = False, depth: int = DEPTH, stop: StopFlag | None = None
    ) -> None:
        self.name = sink.name
        self._sink, self._live, self._depth, self._stop = sink, live, depth, stop or StopFlag()
        self._waiting: deque[_Job] = deque()
        self._at_work: _Job | None = None
        self._since_s = 0.0
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._works, self._hangs, self._leaving, self._ended = True, False, False, False
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name=f"writer of {sink.name}", daemon=True)

    @property
    def dropped(self) -> int:
        """Frames passed over, here or in the sink itself."""
        return self._dropped + dropped_by(self._sink)

    def __enter__(self) -> Self:
        self._sink.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._leaving = True
            self._changed.notify_all()
            if not self._hangs:
                self._wait(lambda: self._ended, limit_s=_LIVE_END_S if self._live or kind else None)

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Pass a frame on; see :class:`crackedge.edge_runtime.sinks.sink.Sink`."""
        self._pass_on(_Job(cast("Sink", self._sink).write, (frame, result), is_frame=True, nbytes=frame.image.nbytes))

    def note(self, record: Record) -> None:
        """Pass a record on; see :class:`crackedge.edge_runtime.sinks.sink.RecordSink`."""
        kind = record["type"]
        self._pass_on(_Job(self._sink.note, (record,), is_frame=kind == "frame"))
        if kind == "header":
            self._settle(limit_s=_FIRST_S)
        elif kind == "summary":
            self._end()

    def finish(self) -> None:
        """Wait until all is written; see :class:`crackedge.edge_runtime.sinks.sink.RecordSink`.

        Raises:
            OutputError: it hangs.
        """
        self._pass_on(_Job(self._sink.finish, (), is_end=True))
        self._end()

    def _pass_on(self, job: _Job) -> None:
        with self._changed:
            self._raise()
            if self._live:
                self._make_room(job)
            elif not self._wait(lambda: len(self._waiting) < most_waiting(job.nbytes, self._depth) or not self._works):
                self._give_up()
            self._raise()
            if self._works:
                self._waiting.append(job)
                self._changed.notify_all()

    def _make_room(self, job: _Job) -> None:
        """Drop the oldest frame, or the oldest of the other records, where too many wait."""
        alike = [one for one in self._waiting if one.is_frame == job.is_frame and not one.is_end]
        if len(alike) >= (most_waiting(job.nbytes, self._depth) if job.is_frame else _NOTES):
            self._waiting.remove(alike[0])
            self._dropped += job.is_frame

    def _end(self) -> None:
        with self._changed:
            if not self._settle(limit_s=_LIVE_END_S if self._live else None):
                self._give_up()

    def _settle(self, *, limit_s: float | None) -> bool:
        """Wait until nothing waits any more; whether that came about."""
        with self._changed:
            settled = self._wait(lambda: not (self._waiting or self._at_work), limit_s=limit_s)
            self._raise()
            return settled or not self._works

    def _wait(self, done: Callable[[], bool], *, limit_s: float | None = None) -> bool:
        """Wait for what the thread does, as long as there is time; whether it came about."""
        started_s = time.monotonic()
        while not done():
            now_s = time.monotonic()
            asked_s = self._stop.asked_s
            late = now_s > max(asked_s + _STOP_S, started_s + _LAST_S)
            ending = self._at_work is None or self._at_work.is_end
            stuck = not ending and now_s > max(asked_s, self._since_s) + _STUCK_S
            if late or stuck or (limit_s is not None and now_s > started_s + limit_s):
                return False
            self._changed.wait(LOOK_S)
        return True

    def _give_up(self) -> None:
        self._works, self._hangs = False, True
        self._waiting.clear()
        raise OutputError(f"{self.name}: takes no more, and was given up; its end is missing")

    def _raise(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _run(self) -> None:
        while self._take():
            assert self._at_work is not None
            failure: BaseException | None = None
            try:
                self._at_work.call(*self._at_work.arguments)
            except BaseException as error:  # raised again by the next call
                failure = error
            with self._changed:
                self._at_work = None
                if failure is not None:
                    self._works, self._failure = False, failure
                    self._waiting.clear()
                self._changed.notify_all()
        try:
            self._sink.__exit__(None, None, None)
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _take(self) -> bool:
        """Wait for the next job and begin with it; False when there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._leaving)
            self._at_work = self._waiting.popleft() if self._waiting else None
            self._since_s = time.monotonic()
            self._changed.notify_all()
            return self._at_work is not None


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    call: Callable[..., None]
    arguments: tuple[Any, ...]
    is_frame: bool = False
    is_end: bool = False
    nbytes: int = 0  # of pixels that it holds
