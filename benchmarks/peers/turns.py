"""Several ways to do the same, timed in turns in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crackedge.benchmarks.intervals import percentile
from crackedge.edge_runtime.errors import OptionError

Scores = npt.NDArray[np.floating]  # (N,) of what a way found


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """What one way did with one picture, or one video.

    Attributes:
        ms: how long it took.
        scores: what it found.
    """

    ms: float
    scores: Scores


Way = Callable[[int], Turn]  # is given the number of the picture
Turns = Mapping[str, Sequence[Turn]]  # by way, in the order of the rounds


def timed(call: Callable[[int], Scores]) -> Way:
    """A way that is a function of this process."""

    def way(number: int) -> Turn:
        before = time.perf_counter()
        scores = call(number)
        return Turn((time.perf_counter() - before) * 1e3, scores)

    return way


def take_turns(
    ways: Mapping[str, Way],
    *,
    rounds: int,
    warmup: int = 3,
    pictures: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, list[Turn]]:
    """What each way did in each round.

    In a round all see the same picture, and each round begins with another way: a machine that slows down slows all of
    them down, and none always runs in the heat of the same neighbour.

    Args:
        ways: what to time, by name.
        rounds: how many count.
        warmup: how many do not, before.
        pictures: how many there are; round ``n`` takes number ``n % pictures``.
        progress: is told a line before each round that counts.

    Raises:
        OptionError: fewer than one round, way or picture.
    """
    if rounds < 1 or pictures < 1 or not ways:
        raise OptionError(f"{rounds} rounds of {len(ways)} ways on {pictures} pictures: expected at least one of each")
    names = list(ways)
    turns: dict[str, list[Turn]] = {name: [] for name in names}
    for number in range(-warmup, rounds):
        if number >= 0:
            progress(f"round {number + 1} of {rounds}")
        first = number % len(names)
        for name in names[first:] + names[:first]:
            turn = ways[name](number % pictures)
            if number >= 0:
                turns[name].append(turn)
    return turns


def describe_turns(turns: Turns) -> dict[str, dict[str, Any]]:
    """The samples of each way, ready to be written as JSON; ``results`` is the number of its scores."""
    described = {}
    for name, each in turns.items():
        samples = [round(turn.ms, 4) for turn in each]
        described[name] = {
            "results": int(each[-1].scores.size),
            "median_ms": percentile(samples, 50),
            "min_ms": min(samples),
            "max_ms": max(samples),
            "samples_ms": samples,
        }
    return described


def rounds_ms(turns: Turns, way: str) -> list[float]:
    """How long a way took in each round."""
    return [turn.ms for turn in turns[way]]
