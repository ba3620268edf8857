from __future__ import annotations

import json

import numpy as np
import pytest

from crackedge.benchmarks.peers.target import (
    describe_target,
    format_part,
    limit_text,
    missed,
    ratio,
    spread_text,
    target,
)
from crackedge.benchmarks.peers.turns import Turn, describe_turns
from crackedge.edge_runtime.errors import OptionError


def turns(**ways: list[float]) -> dict[str, list[Turn]]:
    return {name: [Turn(ms, np.zeros(1)) for ms in samples] for name, samples in ways.items()}


def test_a_ratio_is_formed_within_each_round() -> None:
    slow = [30.0, 300.0, 40.0, 33.0, 90.0, 34.0, 36.0]  # a round ten times slower for both changes nothing
    found = ratio(turns(a=slow, b=[10.0, 100.0, 10.0, 10.0, 30.0, 10.0, 10.0]), "a", "b")
    assert found.median == pytest.approx(3.3)
    assert (found.least, found.most) == (3.0, 4.0)
    assert (found.low, found.high) == (3.0, 4.0)  # seven rounds: the median is between the extremes, at 98 %
    assert found.rounds == 7


def test_with_many_rounds_the_interval_is_narrower_than_the_rounds() -> None:
    found = target("x", [float(value) for value in range(1, 102)])
    assert found.median == 51
    assert found.low is not None
    assert found.high is not None
    assert 1 < found.low < 51 < found.high < 101


def test_few_rounds_have_no_interval_and_say_so() -> None:
    found = describe_target(target("x", [1.0, 2.0, 3.0]))
    assert (found["low"], found["high"]) == (None, None)
    assert spread_text(found) == "rounds 1.00 to 3.00"
    with pytest.raises(OptionError, match="no rounds"):
        target("x", [])


@pytest.mark.parametrize(
    ("limits", "kept", "words"),
    [
        ({}, True, "-"),
        ({"at_least": 2.0}, True, "at least 2 x"),
        ({"at_least": 2.1}, False, "at least 2.1 x"),
        ({"at_most": 2.0}, True, "at most 2 x"),
        ({"at_most": 1.9}, False, "at most 1.9 x"),
    ],
)
def test_the_median_keeps_to_its_limit_or_not(limits: dict[str, float], kept: bool, words: str) -> None:
    found = target("a / b", [1.0, 2.0, 3.0], **limits)  # type: ignore[arg-type]
    assert found.kept is kept
    assert limit_text(describe_target(found)) == words


def test_a_part_shows_its_figures_and_what_it_missed() -> None:
    measured = turns(a=[30.0, 31.0, 32.0], b=[10.0, 10.0, 10.0])
    goals = [ratio(measured, "a", "b", at_least=4.0), ratio(measured, "b", "a")]
    part = {
        "part": "naive",
        "model": {"name": "tiny", "quantization": "int8", "sha256": "0123456789abcdef"},
        "threads": 2,
        "input": {"width": 640, "height": 480},
        "rounds": 3,
        "ways": describe_turns(measured),
        "targets": [describe_target(goal) for goal in goals],
        "agreement": {"largest_difference": 0.00125},
        "skipped": {"sahi": "no network"},
    }
    assert json.loads(json.dumps(part)) == part
    text = format_part(part)
    for piece in ("tiny (int8, sha256 0123456789ab)", "width 640", "31.00", "largest_difference 0.00125"):
        assert piece in text
    assert "a / b: 3.10 x (rounds 3.00 to 3.20), expected at least 4 x: MISSED" in text
    assert "b / a: 0.32 x (rounds 0.31 to 0.33)\n" in text
    assert "skipped sahi: no network" in text
    assert missed(part) == ["naive: a / b is 3.10 x, expected at least 4 x"]
