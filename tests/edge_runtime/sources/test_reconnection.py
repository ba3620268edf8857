"""When a lost source is opened again, and how many readers may be stuck."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackedge.edge_runtime.sources.reader import Reader
from crackedge.edge_runtime.sources.reconnection import FIRST_S, JITTER, MOST_S, Redial, delays_s


def test_delays_double_up_to_the_most() -> None:
    delays = delays_s(first_s=0.5, most_s=8.0, draw=lambda: 0.0)
    assert list(itertools.islice(delays, 7)) == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


@given(st.lists(st.floats(0, 1), min_size=20, max_size=20))
def test_chance_shortens_a_delay_by_no_more_than_its_part(draws: list[float]) -> None:
    chances = iter(draws)
    delays = delays_s(draw=lambda: next(chances))
    full = delays_s(draw=lambda: 0.0)
    for delay, longest, draw in zip(itertools.islice(delays, 20), full, draws, strict=False):
        assert longest * (1 - JITTER) <= delay <= longest <= MOST_S
        assert delay == longest * (1 - JITTER * draw)


def test_not_all_come_back_in_the_same_moment() -> None:
    assert len({next(delays_s()) for _ in range(20)}) == 20
    assert next(delays_s()) <= FIRST_S


class Line:
    """What stands for a source: readers on it block until told otherwise, or fail at once."""

    def __init__(self) -> None:
        self.news, self.over, self.readers = threading.Condition(), threading.Event(), list[Reader]()
        self.blocks = True

    def dial(self) -> Reader:
        def open_capture() -> Any:
            if self.blocks:
                self.over.wait(30)
            raise ConnectionError("nobody there")

        self.readers.append(Reader(open_capture, name="reader of a line", news=self.news))
        return self.readers[-1]


@pytest.fixture
def line() -> Any:
    line = Line()
    yield line
    line.over.set()


def test_readers_that_are_stuck_do_not_pile_up(line: Line) -> None:
    redial = Redial(line.dial, delays=lambda: itertools.repeat(1.0))
    first = line.dial()
    redial.leave(first, 100.0)
    assert redial.try_again(100.9) is None, "not before its time"
    second = redial.try_again(101.0)
    assert second is not None, "beside one that is stuck"
    redial.leave(second, 102.0)
    assert redial.try_again(200.0) is None, "not beside two"
    line.over.set()
    first._thread.join(20)
    assert redial.try_again(200.0) is not None, "but when one has ended"
    assert redial.attempts == 2


def test_delays_grow_while_attempts_fail_and_begin_anew_after_a_connection_that_held(line: Line) -> None:
    line.blocks = False
    redial = Redial(line.dial, delays=lambda: iter([1.0, 2.0, 4.0, 8.0]))
    reader, now_s = line.dial(), 100.0

    def wait_s() -> float:
        nonlocal now_s, reader
        redial.leave(reader, now_s)
        start_s = now_s
        while (again := redial.try_again(now_s)) is None:
            now_s += 0.25
        reader = again
        return now_s - start_s

    assert [wait_s(), wait_s(), wait_s()] == [1.0, 2.0, 4.0]
    reader.opened_s = now_s
    now_s += 3.9
    assert wait_s() == 8.0, "it was open for less than the wait before it"
    reader.opened_s = now_s
    now_s += 8.25
    assert wait_s() == 1.0
