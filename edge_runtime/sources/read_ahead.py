"""Reading ahead: frames decoded in a thread of their own, a few at a time, in order, errors included.

Decoding, the scan and encoding release Python's lock, so three threads do what one would do one after the other.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator

from crackedge.edge_runtime.frame import Frame, most_waiting
from crackedge.edge_runtime.sources.source import never

_LOOK_S = 0.05  # how often a wait looks whether to stop


@contextlib.contextmanager
def read_ahead(frames: Iterable[Frame], *, stop: Callable[[], bool] = never) -> Iterator[Iterator[Frame]]:
    """The same frames, taken from ``frames`` by a thread that is up to three ahead; two, where they are large.

    What ``frames`` raises is raised at the same place. At the end of the ``with`` block the thread has ended, after
    the frame that it was reading.

    Args:
        frames: what to read; only the thread touches it.
        stop: asked now and then while waiting; the frames end when it says True.
    """
    waiting: queue.Queue[Frame | None] = queue.Queue()
    failure: list[BaseException] = []
    leaving = threading.Event()

    def put(frame: Frame | None) -> None:
        waiting.maxsize = most_waiting(frame.image.nbytes if frame else 0)  # nobody else puts
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
