"""Relays: hand frames from thread to thread, a few at a time, in order, errors included.

Decoding, the scan and encoding release Python's lock, so three threads do what one would do one after the other.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from crackedge.edge_runtime.frame import Frame
from crackedge.edge_runtime.records import Record
from crackedge.edge_runtime.scanner import FrameResult
from crackedge.edge_runtime.sinks import Sink
from crackedge.edge_runtime.sources import never

if TYPE_CHECKING:
    from typing import Self

_LOOK_S = 0.05  # how often a wait looks whether to stop
_DEPTH = 2  # frames that wait between two threads: enough to smooth, and 50 MB at 4K


@contextlib.contextmanager
def read_ahead(frames: Iterable[Frame], *, stop: Callable[[], bool] = never) -> Iterator[Iterator[Frame]]:
    """The same frames, taken from ``frames`` by a thread that is up to three ahead.

    What ``frames`` raises is raised at the same place. At the end of the ``with`` block the thread has ended, after
    the frame that it was reading.

    Args:
        frames: what to read; only the thread touches it.
        stop: asked now and then while waiting; the frames end when it says True.
    """
    waiting: queue.Queue[Frame | None] = queue.Queue(_DEPTH)
    failure: list[BaseException] = []
    leaving = threading.Event()

    def put(frame: Frame | None) -> None:
        while not leaving.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(frame, timeout=_LOOK_S)
                return

    def read() -> None:
        try:
            for frame in frames:
                put(frame)
                if leaving.is_set():
                    break
        except BaseException as error:  # raised again by the one who iterates
            failure.append(error)
        put(None)

    def take() -> Iterator[Frame]:
        while not stop():
            try:
                frame = waiting.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            if frame is None:
                if failure:
                    raise failure[0]
                return
            yield frame

    thread = threading.Thread(target=read, name="read ahead", daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        leaving.set()
        thread.join()


class BackgroundSink:
    """A sink in a thread of its own, which is up to three frames behind. A context manager.

    When the thread is slower than the run, the run waits for it. What the sink raises is raised by the next call; the
    thread then lets go of everything it is given, so that nobody waits for a dead sink.
    """

    def __init__(self, sink: Sink) -> None:
        self.name = sink.name
        self._sink = sink
        self._waiting: queue.Queue[tuple[Callable[..., None], tuple[Any, ...]] | None] = queue.Queue(_DEPTH)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"writer of {sink.name}", daemon=True)

    def __enter__(self) -> Self:
        self._sink.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.put(None)
        self._thread.join()
        self._sink.__exit__(kind, error, trace)

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Pass a frame on; see :class:`crackedge.edge_runtime.sinks.Sink`."""
        self._pass_on(self._sink.write, frame, result)

    def note(self, record: Record) -> None:
        """Pass a record on; see :class:`crackedge.edge_runtime.sinks.Sink`."""
        self._pass_on(self._sink.note, record)

    def finish(self) -> None:
        """Wait until all is written; see :class:`crackedge.edge_runtime.sinks.Sink`."""
        self._pass_on(self._sink.finish)
        self._waiting.join()
        self._raise()

    def _pass_on(self, call: Callable[..., None], *arguments: Any) -> None:
        self._raise()
        self._waiting.put((call, arguments))

    def _raise(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _run(self) -> None:
        works = True
        while (job := self._waiting.get()) is not None:
            call, arguments = job
            try:
                if works:
                    call(*arguments)
            except BaseException as error:  # raised again by the next call
                works, self._failure = False, error
            finally:
                self._waiting.task_done()
