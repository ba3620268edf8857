from __future__ import annotations

import time

import numpy as np
import pytest

from crackedge.benchmarks.peers.turns import Turn, Way, describe_turns, rounds_ms, take_turns, timed
from crackedge.edge_runtime.errors import OptionError


def test_each_round_begins_with_another_way_and_all_see_the_same_picture() -> None:
    calls: list[tuple[str, int]] = []

    def way(name: str) -> Way:
        def work(picture: int) -> Turn:
            calls.append((name, picture))
            return Turn(float(len(calls)), np.zeros(2))

        return work

    told: list[str] = []
    ways = {name: way(name) for name in "abc"}
    turns = take_turns(ways, rounds=4, warmup=1, pictures=2, progress=told.append)
    rounds = [calls[start : start + 3] for start in range(0, len(calls), 3)]
    assert ["".join(name for name, _ in one) for one in rounds] == ["cab", "abc", "bca", "cab", "abc"]
    assert [{picture for _, picture in one} for one in rounds] == [{1}, {0}, {1}, {0}, {1}]
    assert rounds_ms(turns, "a") == [4.0, 9.0, 11.0, 13.0]  # the warm-up's second call is not among them
    assert told == [f"round {number} of 4" for number in (1, 2, 3, 4)]


def test_a_way_of_this_process_is_timed_and_keeps_what_it_found() -> None:
    def work(number: int) -> np.ndarray:
        time.sleep(0.02)
        return np.array([number, 0.5])

    turn = timed(work)(3)
    assert turn.ms >= 20
    assert turn.scores.tolist() == [3, 0.5]


def test_samples_are_described_as_they_were_measured() -> None:
    described = describe_turns({"a": [Turn(ms, np.zeros(7)) for ms in (3.0, 1.0, 2.0)]})["a"]
    assert described == {"results": 7, "median_ms": 2.0, "min_ms": 1.0, "max_ms": 3.0, "samples_ms": [3.0, 1.0, 2.0]}


@pytest.mark.parametrize(("rounds", "pictures", "ways"), [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_nothing_to_do_is_refused(rounds: int, pictures: int, ways: int) -> None:
    with pytest.raises(OptionError, match="at least one of each"):
        take_turns({str(n): timed(lambda _: np.zeros(1)) for n in range(ways)}, rounds=rounds, pictures=pictures)
