"""Throughput over time: whether a board that becomes warm keeps its pace."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crackedge.benchmarks.energy import EnergyMeter
from crackedge.benchmarks.intervals import percentile
from crackedge.benchmarks.machine import NOT_MEASURED, describe_state
from crackedge.benchmarks.sampling import Clock, check_positive

_PARTS = 120  # of the time, each a point of the curve
_LEAST_PART_S = 1.0
_WATCHED = ("temperature_c", "clock_mhz", "throttling")


def sustain(
    call: Callable[[int], object],
    *,
    duration_s: float,
    clock: Clock = time.perf_counter,
    state: Callable[[], dict[str, Any]] = describe_state,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Call again and again for a long time, and look at the machine meanwhile; ready to be written as JSON.

    Args:
        call: is given the number of the call.
        duration_s: how long.
        clock: for tests.
        state: what the machine says of itself; for tests.
        progress: is told how far it is.

    Returns:
        ``parts``, up to some hundred of them: ``time_s`` of their end, ``calls_per_s``, ``p50_ms``, temperature, clock
        and throttling. ``kept``: rate over the last tenth of them to that over the first.

    Raises:
        OptionError: the duration is not positive.
    """
    check_positive("duration", duration_s, "s")
    part_s = max(duration_s / _PARTS, min(_LEAST_PART_S, duration_s / 2))
    parts: list[dict[str, Any]] = []
    call(0)
    number = 1
    with EnergyMeter() as energy:
        begin = part_begin = clock()
        samples: list[float] = []
        while part_begin - begin < duration_s:
            before = clock()
            call(number)
            after = clock()
            samples.append((after - before) * 1e3)
            number += 1
            if after - part_begin >= part_s:
                seen = state()
                parts.append(
                    {
                        "time_s": round(after - begin, 3),
                        "calls_per_s": round(len(samples) / (after - part_begin), 4),
                        "p50_ms": round(percentile(samples, 50), 4),
                        **{key: seen[key] for key in _WATCHED},
                    }
                )
                progress(f"sustained: {after - begin:.0f} of {duration_s:.0f} s")
                samples, part_begin = [], after
    tenth = max(1, len(parts) // 10)
    return {
        "duration_s": duration_s,
        "calls": number - 1,
        "kept": _rate(parts[-tenth:]) / _rate(parts[:tenth]),
        "energy": {
            "source": energy.source,
            "joules_per_call": NOT_MEASURED if energy.joules is None else energy.joules / (number - 1),
        },
        "parts": parts,
    }


def format_sustained(found: Mapping[str, Any]) -> str:
    """A few lines for the terminal."""
    first, last = found["parts"][0], found["parts"][-1]
    warm = [part["temperature_c"] for part in found["parts"] if part["temperature_c"] != NOT_MEASURED]
    slowed = [
        part["time_s"]
        for part in found["parts"]
        if part["throttling"] != NOT_MEASURED
        and (part["throttling"]["now"] or part["throttling"]["events"] != first["throttling"]["events"])
    ]
    temperature = f"{warm[0]:.0f} to {max(warm):.0f} °C" if warm else NOT_MEASURED
    throttled = f"from {slowed[0]:.0f} s on" if slowed else "none seen"
    if first["throttling"] == NOT_MEASURED:
        throttled = NOT_MEASURED
    return (
        f"sustained: {found['calls']} frames in {last['time_s']:.0f} s, {first['calls_per_s']:.1f} a second at first, "
        f"{last['calls_per_s']:.1f} at last; keeps {found['kept']:.0%} of its pace; temperature {temperature}, "
        f"throttling {throttled}"
    )


def _rate(parts: Sequence[dict[str, Any]]) -> float:
    return math.fsum(part["calls_per_s"] for part in parts) / len(parts)
