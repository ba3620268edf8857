"""Reading ahead: all frames, in order, errors at their place, and a thread that ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackedge.edge_runtime import Frame, SourceError
from crackedge.edge_runtime.sources.read_ahead import read_ahead
from crackedge.edge_runtime.stop import StopFlag


def frames(count: int, *, failing: bool = False, asked: list[int] | None = None) -> Iterator[Frame]:
    for number in range(count):
        if asked is not None:
            asked.append(number)
        yield Frame(np.zeros((2, 2, 3), np.uint8), number, number / 10)
    if failing:
        raise SourceError("broken here")


def threads() -> int:
    return threading.active_count()


@given(count=st.integers(0, 12))
def test_all_frames_in_order(count: int) -> None:
    with read_ahead(frames(count)) as ahead:
        assert [frame.index for frame in ahead] == list(range(count))


@given(count=st.integers(0, 6))
def test_an_error_comes_after_the_frames_before_it(count: int) -> None:
    taken: list[int] = []
    with read_ahead(frames(count, failing=True)) as ahead, pytest.raises(SourceError, match="broken here"):
        taken.extend(frame.index for frame in ahead)
    assert taken == list(range(count))


def test_of_large_frames_fewer_wait() -> None:
    large = np.zeros((2160, 3840, 3), np.uint8)
    asked: list[int] = []

    def large_frames() -> Iterator[Frame]:
        for number in range(10):
            asked.append(number)
            yield Frame(large, number, 0.0)

    with read_ahead(large_frames()) as ahead:
        next(ahead)
        time.sleep(0.2)
        assert len(asked) <= 2  # taken, and waiting


def test_the_reader_is_only_a_little_ahead_and_ends_with_the_block() -> None:
    before, asked = threads(), []  # type: ignore[var-annotated]
    with read_ahead(frames(1000, asked=asked)) as ahead:
        next(ahead)
        time.sleep(0.2)
        assert len(asked) <= 5
    assert threads() == before
    assert len(asked) <= 5


def test_an_error_in_the_block_ends_the_reader_too() -> None:
    before = threads()

    def fail() -> None:
        with read_ahead(frames(1000)) as ahead:
            next(ahead)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert threads() == before


def test_stop_ends_a_wait() -> None:
    stop, over = StopFlag(), threading.Event()

    def slow() -> Iterator[Frame]:
        yield from frames(1)
        over.wait(20)

    threading.Timer(0.1, stop.ask).start()
    threading.Timer(0.3, over.set).start()
    started_s = time.monotonic()
    with read_ahead(slow(), stop=stop) as ahead:
        assert len(list(ahead)) == 1
        assert time.monotonic() - started_s < 0.28
