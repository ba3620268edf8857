"""Deadlines that hold although the reader blocks, and the newest frame first."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest

from crackedge.edge_runtime import Frame, LiveSourceError
from crackedge.edge_runtime.live import LiveSource, Picture
from crackedge.edge_runtime.sources import SourceOptions
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
    deadlines = {"open_s": 2.0, "read_s": 2.0}
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
