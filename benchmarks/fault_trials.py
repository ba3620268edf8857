"""Trials: a fault of a live source, provoked once over loopback or in a process of its own, and judged.

*Survived* means that what is due came: frames again, of the sender and of nobody else, with the loss on record; or an
end in time that says why; and never more than two reader threads. The deadlines are far shorter than those of a run, so
that many can be waited for: seconds without a frame consist mostly of them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from crackedge.benchmarks import faulty_camera as camera
from crackedge.benchmarks import senders
from crackedge.benchmarks.faulty_camera import Act, FaultyCamera, pictures
from crackedge.edge_runtime.errors import LiveSourceError
from crackedge.edge_runtime.sources.live import LiveSource
from crackedge.edge_runtime.sources.opening import open_source
from crackedge.edge_runtime.sources.reader import Picture
from crackedge.edge_runtime.sources.source import Source, SourceOptions

_OPEN_S, _READ_S, _GIVE_UP_S, _FREEZE_S = 1.0, 0.4, 20.0, 0.5
_SLOW_OPEN_S = 10.0  # of senders that are processes and begin with the source
_LIMIT_S = 60.0  # for one fault
_AGAIN = 5  # frames that prove that it goes on
_MOST_READERS = 2
_STOP_S = 1.0  # half of it is promised
_LATE_S = 2.0  # that an end may be late on a busy machine
_numbers = itertools.count()  # of cameras, whose readers are counted by name


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one fault.

    Attributes:
        survived: whether that is what is due.
        silence_s: the longest time without a frame; that until the end, where an end is due.
        story: what happened, for the reader of a failure.
    """

    survived: bool
    silence_s: float
    story: str


@dataclass(slots=True)
class _Seen:
    """What a source has given so far."""

    frames: int = 0
    foreign: int = 0
    last_s: float = 0.0
    silence_s: float = 0.0
    readers: int = 0
    sizes_wh: list[tuple[int, int]] = field(default_factory=list)
    error: LiveSourceError | None = None


def options(*, open_s: float = _OPEN_S, give_up_s: float = _GIVE_UP_S, freeze_s: float = 0.0) -> SourceOptions:
    """Deadlines short enough to be waited for many times."""
    return SourceOptions(open_s=open_s, read_s=_READ_S, give_up_s=give_up_s, freeze_s=freeze_s)


def watch(source: Source, *, enough: Callable[[_Seen], bool], made: bool = True) -> _Seen:
    """Take frames until that is enough, the source ends or the time is up.

    Args:
        source: where from; open.
        enough: asked after each frame.
        made: whether the frames are those of :func:`crackedge.benchmarks.faulty_camera.noise`, so that others show.
    """
    seen = _Seen(last_s=time.monotonic())
    end_s = seen.last_s + _LIMIT_S
    try:
        for frame in source:
            now_s = time.monotonic()
            seen.frames += 1
            seen.silence_s, seen.last_s = max(seen.silence_s, now_s - seen.last_s), now_s
            seen.readers = max(seen.readers, _readers(source))
            size_wh = (frame.image.shape[1], frame.image.shape[0])
            if size_wh not in seen.sizes_wh:
                seen.sizes_wh.append(size_wh)
            seen.foreign += made and not camera.is_noise(frame.image)
            if enough(seen) or now_s > end_s:
                break
    except LiveSourceError as error:
        seen.error = error
    seen.readers = max(seen.readers, _readers(source))
    return seen


def through_http(*acts: Act, size_wh: tuple[int, int] | None = None, loses: bool = True) -> Trial:
    """A camera that plays these acts; what is due is that frames go on."""
    with FaultyCamera(*acts) as server, open_source(server.url, options()) as source:
        return goes_on(source, size_wh=size_wh, loses=loses)


def refused() -> Trial:
    """A camera that is away, and refuses connections for a second."""
    with FaultyCamera(pictures()) as server, open_source(server.url, options()) as source:

        def away() -> None:
            server.off()
            time.sleep(1.0)
            server.on()

        with later(away):
            return goes_on(source)


def frozen() -> Trial:
    """A camera that repeats one picture, then moves on."""
    still = pictures(60, picture=lambda _: camera.noise(1), then=pictures(announced=False))
    with FaultyCamera(still) as server, open_source(server.url, options(freeze_s=_FREEZE_S)) as source:
        seen = watch(source, enough=lambda _: len(source.gaps) == 2)
        said = [gap.seconds for gap in source.gaps]
        return Trial(len(said) == 2 and said[0] is None and not seen.foreign, seen.silence_s, f"{seen} {source.gaps}")


def absent(*acts: Act) -> Trial:
    """A camera that does not come up with a picture from the start."""
    with ExitStack() as stack:
        server = stack.enter_context(FaultyCamera(*acts or (pictures(),)))
        if not acts:
            server.off()
        start_s = time.monotonic()
        try:
            stack.enter_context(open_source(server.url, options()))
        except LiveSourceError as error:
            took_s = time.monotonic() - start_s
            return Trial(took_s < _OPEN_S + _LATE_S, took_s, str(error))
        return Trial(False, 0.0, "it opened")


def never_back(*acts: Act, give_up_s: float = 2.0) -> Trial:
    """A camera that is lost for good."""
    with FaultyCamera(*acts) as server, open_source(server.url, options(give_up_s=give_up_s)) as source:
        seen = watch(source, enough=lambda _: False)
        took_s = time.monotonic() - seen.last_s
        in_time = seen.error is not None and len(source.gaps) == 1 and took_s < give_up_s + _LATE_S
        return Trial(in_time and seen.readers <= _MOST_READERS, took_s, f"{seen} {source.gaps}")


def stopped() -> Trial:
    """Somebody asks to stop while a lost camera is waited for."""
    asked: list[float] = []
    with FaultyCamera(pictures(5), camera.stall) as server:
        with (
            open_source(server.url, options(), stop=lambda: bool(asked)) as source,
            later(lambda: asked.append(time.monotonic()), delay_s=1.0),
        ):
            seen = watch(source, enough=lambda _: False)
        took_s = time.monotonic() - asked[0]
    return Trial(seen.error is None and took_s < _STOP_S, took_s, f"{seen} {source.gaps}")


def datagrams_again(*, size_wh: tuple[int, int] = (96, 64)) -> Trial:
    """A sender of MPEG-TS over UDP is killed, and another takes its place."""
    port = senders.free_port(socket.SOCK_DGRAM)
    with ExitStack() as stack:
        first = stack.enter_context(senders.udp_sender(port, size_wh=(96, 64)))
        source = stack.enter_context(open_source(f"udp://127.0.0.1:{port}", options(open_s=_SLOW_OPEN_S)))

        def replace() -> None:
            first.kill()
            time.sleep(_READ_S)
            stack.enter_context(senders.udp_sender(port, size_wh=size_wh))

        with later(replace):
            return goes_on(source, size_wh=size_wh)


def rtsp_again(*, size_wh: tuple[int, int] = (96, 64)) -> Trial:
    """An RTSP server is killed, and another takes its place."""
    port = senders.free_port()
    with ExitStack() as stack:
        first = stack.enter_context(senders.rtsp_sender(port, size_wh=(96, 64)))
        source = stack.enter_context(open_source(_rtsp(port), options(open_s=_SLOW_OPEN_S)))

        def replace() -> None:
            first.kill()
            stack.enter_context(senders.rtsp_sender(port, size_wh=size_wh))

        with later(replace):
            return goes_on(source, size_wh=size_wh, made=False)


def rtsp_stopped() -> Trial:
    """An RTSP server does nothing for two seconds, and keeps its connections."""
    port = senders.free_port()
    with ExitStack() as stack:
        server = stack.enter_context(senders.rtsp_sender(port, size_wh=(96, 64)))
        source = stack.enter_context(open_source(_rtsp(port), options(open_s=_SLOW_OPEN_S)))

        def pause() -> None:
            with server.stopped():
                time.sleep(2.0)

        with later(pause):
            return goes_on(source, made=False)


def pipe(*, stalls: bool) -> Trial:
    """A program that writes into a named pipe stalls for a while, or ends in the middle of a packet."""
    data = senders.transport_stream(20, size_wh=(96, 64))
    half = len(data) // 2 // 188 * 188 + (0 if stalls else 77)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipe"
        os.mkfifo(path)

        def write() -> None:
            with path.open("wb") as end:
                end.write(data[:half])
                end.flush()
                if stalls:
                    time.sleep(1.0)
                    end.write(data[half:])

        with later(write, delay_s=0.0), open_source(path, options(open_s=_SLOW_OPEN_S)) as source:
            seen = watch(source, enough=lambda _: False)
        survived = seen.error is None and seen.frames > 0 and len(source.gaps) == int(stalls)
        return Trial(survived, seen.silence_s, f"{seen} {source.gaps}")


class StandIn:
    """What stands for a camera of this machine: gives pictures, and then does as it is told.

    Args:
        then: called after five pictures instead of giving one; never for None.
    """

    fps: float | None = 30.0
    width: int | None = None
    height: int | None = None

    def __init__(self, then: Callable[[], Picture | None] | None) -> None:
        self._then, self._given = then, 0

    def grab(self) -> Picture | None:
        """A picture, or whatever it is told."""
        time.sleep(0.01)
        if self._then is not None and self._given == _AGAIN:
            return self._then()
        self._given += 1
        number = self._given
        return lambda: camera.noise(number)

    def close(self) -> None:
        """There is nothing to let go of."""


def stand_in(then: Callable[[threading.Event], Picture | None], *, absences: int = 0) -> Trial:
    """A camera that fails once in a way of its own, cannot be opened for some attempts, and works again."""
    over = threading.Event()
    opened = 0

    def open_capture() -> StandIn:
        nonlocal opened
        opened += 1
        if 1 < opened < 2 + absences:
            raise LiveSourceError("/dev/video0: no such camera")
        return StandIn((lambda: then(over)) if opened == 1 else None)

    try:
        name = f"camera-{next(_numbers)}"
        with LiveSource(open_capture, uri="camera 0", name=name, kind="camera", options=options()) as source:
            return goes_on(source)
    finally:
        over.set()


@contextlib.contextmanager
def later(do: Callable[[], None], *, delay_s: float = 0.3) -> Iterator[None]:
    """Do something in a thread during the ``with`` block, at whose end it is done."""

    def wait_and_do() -> None:
        time.sleep(delay_s)
        do()

    thread = threading.Thread(target=wait_and_do)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def goes_on(source: Source, *, size_wh: tuple[int, int] | None = None, loses: bool = True, made: bool = True) -> Trial:
    """Whether frames come after a loss: of the size wanted, and none that nobody sent."""
    since_frames: list[int] = []

    def enough(seen: _Seen) -> bool:
        happened = bool(source.gaps) if loses else seen.frames > 2 * _AGAIN
        if happened and size_wh in (None, seen.sizes_wh[-1]):
            since_frames.append(seen.frames)
        return len(since_frames) >= _AGAIN

    seen = watch(source, enough=enough, made=made)
    survived = seen.error is None and len(since_frames) >= _AGAIN and not seen.foreign and seen.readers <= _MOST_READERS
    return Trial(survived, seen.silence_s, f"{seen} {source.gaps}")


def _readers(source: Source) -> int:
    return sum(thread.name == f"reader of {source.name}" for thread in threading.enumerate())


def _rtsp(port: int) -> str:
    return f"rtsp://127.0.0.1:{port}/live"
