"""Sinks in threads of their own: all in order, errors once, and threads that end."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crackedge.edge_runtime import Frame, OutputError
from crackedge.edge_runtime.sinks.background import BackgroundSink
from crackedge.edge_runtime.sinks.jsonl import JsonlSink
from crackedge.edge_runtime.stop import StopFlag


def frames(count: int) -> Iterator[Frame]:
    for number in range(count):
        yield Frame(np.zeros((2, 2, 3), np.uint8), number, number / 10)


def threads() -> int:
    return threading.active_count()


class Slow:
    """A sink that takes its time, and fails where it is told to."""

    name = "slow"

    def __init__(self, *, fail_at: int = -1) -> None:
        self.did: list[Any] = []
        self.closed = False
        self._fail_at = fail_at

    def write(self, frame: Frame, result: Any) -> None:
        time.sleep(0.005)
        if len(self.did) == self._fail_at:
            raise OutputError("full")
        self.did.append(frame.index)

    def note(self, record: dict[str, Any]) -> None:
        self.did.append(record)

    def finish(self) -> None:
        self.did.append("finished")

    def __enter__(self) -> Slow:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True


def test_a_background_sink_does_all_in_order() -> None:
    slow: Any = Slow()
    with BackgroundSink(slow) as sink:
        sink.note({"type": "header"})
        for frame in frames(10):
            sink.write(frame, None)  # type: ignore[arg-type]
        sink.finish()
        assert slow.did == [{"type": "header"}, *range(10), "finished"]
        assert not slow.closed
    assert slow.closed


def test_a_background_sink_that_fails_says_so_once_and_hinders_nobody() -> None:
    slow: Any = Slow(fail_at=2)
    before, failures = threads(), 0
    started_s = time.monotonic()
    with BackgroundSink(slow) as sink:
        for frame in frames(50):
            try:
                sink.write(frame, None)  # type: ignore[arg-type]
            except OutputError:  # noqa: PERF203 - counting them is the point
                failures += 1
        sink.finish()
    assert failures == 1
    assert slow.did == [0, 1], "nothing after the failure"
    assert slow.closed
    assert threads() == before
    assert time.monotonic() - started_s < 2


def test_a_failure_of_the_last_frame_shows_when_finishing() -> None:
    slow: Any = Slow(fail_at=0)
    with BackgroundSink(slow) as sink:
        sink.write(next(frames(1)), None)  # type: ignore[arg-type]
        with pytest.raises(OutputError):
            sink.finish()


class Gated(Slow):
    """A sink that does nothing until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.began = threading.Event(), threading.Event()

    def write(self, frame: Frame, result: Any) -> None:
        self.began.set()
        assert self.gate.wait(30)
        self.did.append(frame.index)

    def note(self, record: dict[str, Any]) -> None:
        if record["type"] == "frame":
            self.write(next(frames(1)), None)
        else:
            super().note(record)


def test_a_slow_sink_of_a_live_source_gets_the_newest_frames_and_all_else() -> None:
    gated: Any = Gated()
    with BackgroundSink(gated, live=True, depth=3) as sink:
        sink.note({"type": "header"})
        first, *others = frames(20)
        sink.write(first, None)  # type: ignore[arg-type]
        assert gated.began.wait(30)
        for frame in others:  # which nobody waits for
            sink.write(frame, None)  # type: ignore[arg-type]
            if frame.index % 5 == 0:
                sink.note({"type": "gap", "before_index": frame.index})
        assert sink.dropped == 16
        gated.gate.set()
        sink.finish()
    gaps = [{"type": "gap", "before_index": index} for index in (5, 10, 15)]
    assert gated.did == [{"type": "header"}, 0, *gaps, 17, 18, 19, "finished"]


def test_records_of_frames_are_frames() -> None:
    gated: Any = Gated()
    with BackgroundSink(gated, live=True, depth=2) as sink:
        for number in range(200):
            sink.note({"type": "frame", "index": number})
            sink.note({"type": "gap", "before_index": number})
        assert 196 <= sink.dropped <= 198
        assert len(sink._waiting) <= 70, "bounded, whatever comes"
        gated.gate.set()
        sink.finish()


def test_a_failure_at_the_header_or_summary_is_raised_there() -> None:
    class Full(Slow):
        def note(self, record: dict[str, Any]) -> None:
            raise OutputError("full")

    for kind in ("header", "summary"):
        full: Any = Full()
        with BackgroundSink(full) as sink, pytest.raises(OutputError, match="full"):
            sink.note({"type": kind})


def fill(pipe: Path) -> int:
    """Fill a pipe that nobody empties."""
    descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(descriptor, b"\n" * 4096)
    return descriptor


@pytest.mark.parametrize("live", [True, False])
def test_a_sink_that_hangs_in_the_kernel_does_not_hold_up_the_end(live: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    descriptor = fill(tmp_path / "pipe")
    stop, good = StopFlag(), Slow()
    slow: Any = good
    with BackgroundSink(JsonlSink(tmp_path / "pipe"), live=live, stop=stop) as hanging, BackgroundSink(slow) as sink:
        hanging.note({"type": "gap"})
        hanging.note({"type": "gap"})
        stop.ask(2)
        with pytest.raises(OutputError, match=r"pipe: takes no more, and was given up"):
            hanging.finish()
        hanging.note({"type": "summary"})  # is let go of
        sink.write(next(frames(1)), None)  # type: ignore[arg-type]
        sink.finish()
    assert time.monotonic() - stop.asked_s < 10, "no wait without end; test_outputs.py has the limit"
    assert good.did == [0, "finished"]
    assert good.closed
    os.read(descriptor, 1 << 20)  # it comes back
    os.close(descriptor)
    deadline_s = time.monotonic() + 30
    while any(thread.name == "writer of pipe" for thread in threading.enumerate()):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_stop_ends_the_wait_of_a_file_run_for_room() -> None:
    gated: Any = Gated()
    stop = StopFlag()
    threading.Timer(0.1, stop.ask).start()

    def write_on(sink: BackgroundSink) -> None:
        for frame in frames(10):
            sink.write(frame, None)  # type: ignore[arg-type]

    with BackgroundSink(gated, stop=stop) as sink, pytest.raises(OutputError, match="given up"):
        write_on(sink)
    gated.gate.set()


def test_a_sink_lets_fewer_large_frames_wait() -> None:
    gated: Any = Gated()
    frame = Frame(np.zeros((2160, 3840, 3), np.uint8), 0, 0.0)
    with BackgroundSink(gated) as sink:
        writers = [threading.Thread(target=sink.write, args=(frame, None), daemon=True) for _ in range(3)]
        for writer in writers:
            writer.start()
            time.sleep(0.1)
        assert [writer.is_alive() for writer in writers] == [False, False, True]  # at work, waiting, held up
        gated.gate.set()
        for writer in writers:
            writer.join()
        sink.finish()
    assert gated.did == [0, 0, 0, "finished"]
