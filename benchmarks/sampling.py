"""Timing calls again and again, and the frames of a camera that does not wait. Clocks can be given, for tests."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crackedge.edge_runtime.errors import OptionError

Clock = Callable[[], float]  # seconds, monotonic
Stages = Mapping[str, float]  # milliseconds by stage, of one call

_WARMUP_CALLS = 5
_WARMUP_S = 0.3
_LEAST_SAMPLES = 3


@dataclass(frozen=True, slots=True)
class Samples:
    """What was measured in one go, in the order of measuring.

    Attributes:
        first_ms: the very first call, which pays for what is made once.
        warmup_calls: calls before the samples, the first included.
        total_ms: of each call.
        stages_ms: what each call said of its own stages.
    """

    first_ms: float
    warmup_calls: int
    total_ms: tuple[float, ...]
    stages_ms: tuple[Stages, ...] = ()

    @property
    def calls(self) -> int:
        """All calls, those of the warm-up included."""
        return self.warmup_calls + len(self.total_ms)


@dataclass(frozen=True, slots=True)
class Raw:
    """What one scenario gave in this process.

    Attributes:
        samples: of its calls.
        stages_ms: by stage, where they are not those of the calls.
        details: figures that only this scenario has.
    """

    samples: Samples
    stages_ms: Mapping[str, Sequence[float]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


def sample(
    call: Callable[[int], Stages | None],
    *,
    duration_s: float,
    warmup_calls: int = _WARMUP_CALLS,
    warmup_s: float = _WARMUP_S,
    clock: Clock = time.perf_counter,
) -> Samples:
    """Time a call again and again.

    Args:
        call: is given the number of the call, and may give its stages in milliseconds; ``"total"`` among them replaces
            the time that was taken from outside.
        duration_s: how long to measure, after the warm-up; three samples at least.
        warmup_calls: calls before the first sample, at least one.
        warmup_s: and for at least so long.
        clock: for tests.

    Raises:
        OptionError: the duration is not positive.
    """
    check_positive("duration", duration_s, "s")

    def timed(number: int) -> tuple[float, Stages]:
        before = clock()
        stages = call(number) or {}
        total = (clock() - before) * 1e3
        return stages.get("total", total), {name: ms for name, ms in stages.items() if name != "total"}

    begin = clock()
    first_ms, _ = timed(0)
    calls = 1
    while calls < max(1, warmup_calls) or clock() - begin < warmup_s:
        timed(calls)
        calls += 1
    samples: list[tuple[float, Stages]] = []
    begin = clock()
    while len(samples) < _LEAST_SAMPLES or clock() - begin < duration_s:
        samples.append(timed(calls + len(samples)))
    return Samples(first_ms, calls, tuple(total for total, _ in samples), tuple(stages for _, stages in samples))


@dataclass(frozen=True, slots=True)
class Capture:
    """A frame that a camera gave.

    Attributes:
        number: of the frame, from 0; numbers left out are frames that were dropped.
        captured_s: when, by the clock.
    """

    number: int
    captured_s: float


def newest_captures(
    *, fps: float, duration_s: float, clock: Clock = time.perf_counter, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Capture]:
    """The newest frame, each time that somebody asks, of a camera that captures frame ``k`` at ``k / fps`` seconds.

    The schedule is absolute and begins with the first question: who takes long does not slow the camera down, but
    makes frames be dropped. Nobody waits for a frame that is there already.

    Args:
        fps: of the camera.
        duration_s: how long it captures; one frame at least.
        clock: for tests.
        sleep: for tests.

    Raises:
        OptionError: pace or duration are not positive.
    """
    count = captured(fps=fps, duration_s=duration_s)
    start = clock()
    number = 0
    while number < count:
        newest = min(math.floor((clock() - start) * fps + 1e-6), count - 1)
        if newest < number:
            sleep(max(0.0, number / fps - (clock() - start)))
            continue
        yield Capture(newest, start + newest / fps)
        number = newest + 1


def captured(*, fps: float, duration_s: float) -> int:
    """How many frames a camera captures.

    Raises:
        OptionError: pace or duration are not positive.
    """
    check_positive("fps", fps, "frames a second")
    check_positive("duration", duration_s, "s")
    return max(1, math.ceil(duration_s * fps - 1e-6))


def stages_of(calls: Sequence[Mapping[str, float]]) -> dict[str, Sequence[float]]:
    """Milliseconds of each stage, call by call; 0 where a call had no such stage."""
    return {name: [call.get(name, 0.0) for call in calls] for name in dict.fromkeys(itertools.chain(*calls))}


def check_positive(what: str, value: float, unit: str) -> None:
    """Refuse what is not a positive, finite number.

    Raises:
        OptionError: says what it was.
    """
    if not (math.isfinite(value) and value > 0):
        raise OptionError(f"{what} {value:g} {unit}: expected more than 0")
