"""Reading ahead: frames decoded in a thread of their own, a few at a time, in order, errors included.

Decoding, the scan and encoding release Python's lock, so three threads do what one would do one after the other.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator

from crackedge.edge_runtime.frame import DEPTH, Frame, most_waiting
from crackedge.edge_runtime.sources.source import never
from crackedge.edge_runtime.stop import LOOK_S

_AHEAD = DEPTH + 1  # one of them being read


@contextlib.contextmanager
def read_ahead(frames: Iterable[Frame], *, stop: Callable[[], bool] = never) -> Iterator[Iterator[Frame]]:
    """The same frames, taken from ``frames`` by a thread that is up to three ahead; one, where they are large.

    What ``frames`` raises is raised at the same place. At the end of the ``with`` block the thread has ended, after
    the frame that it was reading.

    Args:
        frames: what to read; only the thread touches it.
        stop: asked now and then while waiting; the frames end when it says True.
    """
    waiting: queue.Queue[Frame | None] = queue.Queue()
    taken = threading.Event()
    failure: list[BaseException] = []
    leaving = threading.Event()

    def wait_for_room(nbytes: int) -> bool:
        while not leaving.is_set():
            taken.clear()
            if waiting.qsize() < most_waiting(nbytes, _AHEAD):
                return True
            taken.wait(LOOK_S)
        return False

    def read() -> None:
        nbytes = 0
        try:
            reading = iter(frames)
            while wait_for_room(nbytes):
                frame = next(reading, None)
                if frame is None:
                    break
                nbytes = frame.image.nbytes
                waiting.put(frame)
                del frame  # which may be done with before the next is read
        except BaseException as error:  # raised again by the one who iterates
            failure.append(error)
        waiting.put(None)

    def take() -> Iterator[Frame]:
        while not stop():
            try:
                frame = waiting.get(timeout=LOOK_S)
            except queue.Empty:
                continue
            taken.set()
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
