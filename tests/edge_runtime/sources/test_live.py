"""Deadlines that hold although the reader blocks, and the newest frame first."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

import numpy as np
import pytest

from crackedge.edge_runtime import Frame, LiveSourceError, OptionError
from crackedge.edge_runtime.sources.live import LiveSource
from crackedge.edge_runtime.sources.reader import Picture
from crackedge.edge_runtime.sources.source import SourceOptions
from crackedge.edge_runtime.stop import StopFlag


class Reader:
    """A capture that does as the test says, picture by picture; what blocks is let go at the end of the test."""

    fps: float | None = 30.0
    width: int | None = 4
    height: int | None = 4

    def __init__(self, grab: Callable[[int], Picture | None]) -> None:
        self._grab, self.asked, self.closed = grab, 0, threading.Event()

    def grab(self) -> Picture | None:
        self.asked += 1
        return self._grab(self.asked - 1)

    def close(self) -> None:
        self.closed.set()


def picture(number: int) -> Picture:
    return lambda: np.full((4, 4, 3), number % 256, np.uint8)


def live(open_capture: Callable[[], Any], **options: Any) -> LiveSource:
    deadlines: dict[str, Any] = {"open_s": 2.0, "read_s": 2.0, "give_up_s": 0.0, "freeze_s": 10.0}
    deadlines |= {name: options.pop(name) for name in deadlines if name in options}
    values = {"uri": "cam", "name": "cam", "kind": "camera", "options": SourceOptions(**deadlines), **options}
    return LiveSource(open_capture, **values)


@pytest.fixture
def forever() -> Any:
    event = threading.Event()
    yield event
    event.set()


def test_opening_that_blocks_ends_at_the_deadline(forever: threading.Event) -> None:
    started_s = time.monotonic()
    with pytest.raises(LiveSourceError, match=r"cam: did not open within 0.2 s"):
        live(forever.wait, open_s=0.2)
    assert time.monotonic() - started_s < 2, "and closing does not wait for it either"


def test_reading_that_blocks_ends_at_the_deadline(forever: threading.Event) -> None:
    def grab(number: int) -> Picture | None:
        if number < 3:
            time.sleep(0.02)
            return picture(number)
        forever.wait()
        return None

    frames: list[Frame] = []
    with live(lambda: Reader(grab), read_s=0.3) as source:
        with pytest.raises(LiveSourceError, match=r"no frame for 0.3 s after 3 frames"):
            frames.extend(source)
        (gap,) = source.gaps
    assert len(frames) == gap.before_index == 3 - sum(frame.dropped_before for frame in frames)
    assert gap.time_s == frames[-1].time_s
    assert gap.started_at == frames[-1].captured_at
    assert gap.seconds == pytest.approx(0.35, abs=0.15)


def test_the_newest_frame_wins_and_the_others_are_counted() -> None:
    sent = 40

    def grab(number: int) -> Picture:
        if number == sent:
            raise EOFError
        time.sleep(0.005)
        return picture(number)

    shown, dropped = [], 0
    with live(lambda: Reader(grab), may_end=True) as source:
        for frame in source:
            shown.append(int(frame.image[0, 0, 0]))
            dropped += frame.dropped_before
            time.sleep(0.03)
    assert shown == sorted(shown)
    assert shown[-1] == sent - 1, "the last one is not lost"
    assert len(shown) < sent / 2
    assert len(shown) + dropped == sent


def test_pictures_that_are_dropped_are_not_converted() -> None:
    converted = []

    def grab(number: int) -> Picture:
        if number == 10:
            raise EOFError
        return lambda: converted.append(number) or np.zeros((4, 4, 3), np.uint8)  # type: ignore[func-returns-value]

    with live(lambda: Reader(grab), may_end=True) as source:
        time.sleep(0.1)
        (frame,) = source
    assert converted == [9]
    assert frame.dropped_before == 9


def test_times() -> None:
    def grab(number: int) -> Picture:
        time.sleep(0.05)
        return picture(number)

    before = datetime.now(timezone.utc)
    with live(lambda: Reader(grab)) as source:
        frames = [frame for frame, _ in zip(source, range(3), strict=False)]
    assert frames[0].time_s == 0.0
    for frame in frames:
        assert frame.captured_at is not None
        assert before < frame.captured_at < datetime.now(timezone.utc)
        assert (frame.captured_at - (frames[0].captured_at or before)).total_seconds() == pytest.approx(
            frame.time_s, abs=0.02
        )
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert (source.fps, source.width, source.height) == (30.0, 4, 4)


@pytest.mark.parametrize("days", [-30, 30])
def test_a_clock_that_is_set_does_not_change_the_age_of_a_frame(days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A board without a clock of its own has its first frames before it learns the time."""

    class Unset(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) - timedelta(days=days)

    monkeypatch.setattr("crackedge.edge_runtime.sources.reader.datetime", Unset)
    with live(lambda: Reader(lambda number: picture(number) if number < 1 else None)) as source:
        frame = next(iter(source))
    age_s = frame.age_s()
    assert frame.captured_at is not None
    assert abs(datetime.now(timezone.utc) - frame.captured_at) > timedelta(days=29), "records have the clock's time"
    assert age_s is not None
    assert 0 <= age_s < 10


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (ConnectionError("the cable is out"), "cam: the cable is out after 1 frames"),
        (EOFError(), "cam: the stream ended after 1 frames"),
        (RuntimeError("a bug"), "cam: RuntimeError: a bug after 1 frames"),
    ],
)
def test_a_loss_is_raised_where_frames_are_taken(failure: Exception, words: str) -> None:
    taken = threading.Event()

    def grab(number: int) -> Picture:
        if number == 1:
            taken.wait()
            raise failure
        return picture(number)

    reader = Reader(grab)
    with live(lambda: reader) as source:
        frames = iter(source)
        next(frames)
        taken.set()
        with pytest.raises(LiveSourceError, match=words):
            next(frames)
    assert reader.closed.wait(1)


def test_an_opener_that_fails() -> None:
    def refuse() -> Any:
        raise ConnectionError("connection refused")

    with pytest.raises(LiveSourceError, match=r"cam: cannot be opened \(connection refused\)"):
        live(refuse)


def test_an_end_without_any_frame_is_a_loss_even_of_a_pipe() -> None:
    def grab(_: int) -> Picture:
        raise EOFError

    with live(lambda: Reader(grab), may_end=True) as source, pytest.raises(LiveSourceError, match="ended"):
        list(source)


def test_a_capture_that_gives_nothing_is_asked_again() -> None:
    reader = Reader(lambda number: picture(number) if number == 5 else time.sleep(0.001))
    with live(lambda: reader) as source:
        assert next(iter(source)).image[0, 0, 0] == 5


@pytest.mark.parametrize("where", ["opening", "reading"])
def test_stopping_ends_a_wait_at_once(where: str, forever: threading.Event) -> None:
    stop = StopFlag()
    threading.Timer(0.1, stop.ask).start()
    started_s = time.monotonic()

    def wait(_: int) -> None:
        forever.wait()

    opener: Callable[[], Any] = forever.wait if where == "opening" else lambda: Reader(wait)
    with live(opener, open_s=30.0, read_s=30.0, stop=stop) as source:
        assert list(source) == []
    assert time.monotonic() - started_s < 2


def test_the_reader_ends_with_the_block() -> None:
    reader = Reader(lambda number: time.sleep(0.01) or picture(number))  # type: ignore[func-returns-value]
    with live(lambda: reader) as source:
        next(iter(source))
    assert reader.closed.wait(1)
    asked = reader.asked
    time.sleep(0.05)
    assert reader.asked == asked


class Plug:
    """Opens one reader after the other; an exception stands for an attempt that fails."""

    def __init__(self, *readers: Reader | Exception) -> None:
        self._readers, self.opened = list(readers), 0

    def __call__(self) -> Reader:
        self.opened += 1
        reader = self._readers[min(self.opened, len(self._readers)) - 1]
        if isinstance(reader, Exception):
            raise reader
        return reader


def paced(*, until: int | None = None, size: int = 4, failure: Exception | None = None) -> Reader:
    """Pictures that differ; after so many, the end or a failure."""

    def grab(number: int) -> Picture:
        time.sleep(0.01)
        if number == until:
            raise failure or EOFError
        return lambda: np.full((size, size, 3), number % 256, np.uint8)

    reader = Reader(grab)
    reader.width = reader.height = size
    return reader


def take(source: LiveSource, *, until: Callable[[Frame], bool]) -> list[Frame]:
    frames = []
    for frame in source:
        frames.append(frame)
        if until(frame):
            break
    return frames


def test_a_source_that_comes_back_larger() -> None:
    plug = Plug(paced(until=5, failure=ConnectionError("the cable is out")), ConnectionError("no"), paced(size=8))
    said: list[tuple[str, int]] = []
    with live(plug, give_up_s=30.0, on_warning=lambda text: said.append((text, plug.opened))) as source:
        frames = take(source, until=lambda frame: frame.image.shape[0] == 8)
        assert (source.width, source.height) == (8, 8)
        status = source.status()
    before, after = frames[-2:]
    (gap,) = source.gaps
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert (gap.reason, gap.before_index, gap.time_s) == ("the cable is out", after.index, before.time_s)
    assert gap.seconds == pytest.approx(after.time_s - before.time_s)
    assert gap.started_at == before.captured_at
    assert said == [(f"cam: the cable is out after {after.index} frames; waiting for it to come back", 1)]
    assert (status.connected, status.reconnections, status.frames, status.frozen) == (True, 1, len(frames), False)
    assert status.dropped == sum(frame.dropped_before for frame in frames)
    assert status.age_s is not None
    assert not source.status().connected, "closed"
    assert plug.opened == 3


def test_a_source_that_does_not_come_back() -> None:
    plug = Plug(paced(until=3), LiveSourceError("/dev/video0: no such camera"))
    with live(plug, give_up_s=1.5) as source:
        started_s = time.monotonic()
        with pytest.raises(
            LiveSourceError, match=r"cam: the stream ended after \d frames; \d+ attempts.*no such camera;"
        ):
            list(source)
        (gap,) = source.gaps
    assert time.monotonic() - started_s >= 1.5
    assert gap.seconds is not None
    assert gap.seconds >= 1.5
    assert plug.opened > 1


def test_a_source_that_comes_back_has_time_for_its_first_picture() -> None:
    def slow(number: int) -> Picture:
        time.sleep(0.01 if number else 0.3)
        return picture(number)

    plug = Plug(paced(until=3), ConnectionError("no"), Reader(slow))
    with live(plug, read_s=0.6, give_up_s=30.0) as source:
        take(source, until=lambda _: bool(source.gaps))
        (gap,) = source.gaps
    assert gap.seconds is not None
    assert gap.seconds > 0.6, "longer than the time between two pictures may be"
    assert plug.opened == 3


def test_readers_that_block_one_after_the_other_do_not_pile_up(forever: threading.Event) -> None:
    most = 0

    def count() -> bool:
        nonlocal most
        most = max(most, sum(thread.name == "reader of many" for thread in threading.enumerate()))
        return False

    def grab(number: int) -> Picture | None:
        if number < 2:
            return picture(number)
        forever.wait(30)
        return None

    with (
        live(lambda: Reader(grab), name="many", read_s=0.05, give_up_s=2.0, stop=count) as source,
        pytest.raises(LiveSourceError, match=r"no frame for 0.05 s"),
    ):
        list(source)
    assert most == 2


def test_what_was_lost_is_let_go_of_without_the_collector() -> None:
    """Decoders hold threads and tens of megabytes, of which Python's collector knows nothing."""
    lost: list[weakref.ref[Reader]] = []

    def open_capture() -> Reader:
        reader = paced(until=2, failure=ConnectionError("the cable is out"))
        lost.append(weakref.ref(reader))
        return reader

    gc.collect()
    gc.disable()
    try:
        with live(open_capture, give_up_s=30.0) as source:
            take(source, until=lambda _: len(source.gaps) == 2)
            assert [reader() is None for reader in lost] == [True, True, False]
    finally:
        gc.enable()


def test_stopping_ends_the_wait_for_a_source_that_is_lost() -> None:
    stop = StopFlag()
    plug = Plug(paced(until=3), ConnectionError("no"))
    threading.Timer(0.4, stop.ask).start()
    with live(plug, give_up_s=60.0, stop=stop) as source:
        started_s = time.monotonic()
        assert list(source)
        assert time.monotonic() - started_s < 5
        assert [gap.reason for gap in source.gaps] == ["the stream ended"], "and what was missing up to now is said"


def test_what_can_be_read_only_once_is_not_opened_again() -> None:
    plug = Plug(paced(until=3, failure=ConnectionError("damaged")))
    with live(plug, may_end=True, give_up_s=60.0) as source, pytest.raises(LiveSourceError, match="damaged"):
        list(source)
    assert plug.opened == 1
    plug = Plug(paced(until=3, failure=OptionError("no such thing")))
    with live(plug, may_end=True, give_up_s=60.0) as source, pytest.raises(OptionError):
        list(source)


@pytest.mark.parametrize("how", ["may_end", "patient"])
def test_a_stall_that_is_waited_out(how: str) -> None:
    over = threading.Event()

    def grab(number: int) -> Picture:
        if number == 3:
            over.wait(20)
        time.sleep(0.01)
        return picture(number)

    plug = Plug(Reader(grab))
    with live(plug, read_s=0.2, give_up_s=60.0, on_warning=lambda _: over.set(), **{how: True}) as source:
        take(source, until=lambda _: bool(source.gaps))
        assert [gap.reason for gap in source.gaps] == ["no frame for 0.2 s"]
        assert source.status().reconnections == 1
    assert plug.opened == 1


@pytest.mark.parametrize("kind", ["camera", "stream", "scene"])
def test_a_camera_that_repeats_itself(kind: str) -> None:
    """It is said, and nothing is withheld; scenes may stand still."""

    def grab(number: int) -> Picture:
        time.sleep(0.01)
        return picture(7 if number < 60 else number)

    with live(lambda: Reader(grab), kind=kind, freeze_s=0.2) as source:
        frames = take(source, until=lambda frame: frame.image[0, 0, 0] > 60)
        gaps = source.gaps
    assert len(frames) > 10
    if kind == "scene":
        assert gaps == []
        return
    noticed, ended = gaps
    assert re.fullmatch(r"the same picture for \d\.\d s by now", noticed.reason)
    assert (noticed.seconds, noticed.time_s) == (None, 0.0)
    assert ended.reason == "the same picture until now"
    assert ended.seconds is not None
    assert ended.seconds > 0.2
    assert ended.before_index > noticed.before_index
    assert noticed.started_at is not None
    assert ended.started_at is not None
    assert abs((noticed.started_at - ended.started_at).total_seconds()) < 0.01


def test_a_process_ends_although_its_reader_is_stuck() -> None:
    """Stuck for good, in a call that nobody can interrupt from Python: opening a pipe that nobody writes to."""
    script = """
        import os, sys, tempfile
        from crackedge.edge_runtime import LiveSourceError, SourceOptions, open_source
        pipe = os.path.join(tempfile.mkdtemp(), "pipe")
        os.mkfifo(pipe)
        try:
            open_source(pipe, SourceOptions(open_s=0.3))
        except LiveSourceError as error:
            sys.exit(f"{error}".replace(pipe, "pipe"))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "pipe: did not open within 0.3 s; check that it is on and reachable\n"
