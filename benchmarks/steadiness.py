"""Whether a machine was quiet and steady while it was measured: other processes' share, drift, spread of processes."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crackedge.benchmarks.intervals import percentile
from crackedge.benchmarks.machine import NOT_MEASURED

_OTHERS_CORES = 0.2  # of a processor, in the mean
_STEAL_SHARE = 0.01
_DRIFT = 0.05  # of the median, from the first third to the last
_DRIFT_DOUBT = 1e-3
_LEAST_FOR_DRIFT = 30  # samples
_PROCESSES_APART = 0.15  # of the medians


@dataclass(frozen=True, slots=True)
class ProcessorTimes:
    """Processor time since the machine was started, in seconds.

    Attributes:
        busy_s: of all processes on all processors; None where nobody counts.
        steal_s: that a virtual machine wanted and did not get.
        own_s: of this process and the children that it waited for.
        wall_s: monotonic clock.
    """

    busy_s: float | None
    steal_s: float
    own_s: float
    wall_s: float


def processor_times(*, root: Path = Path("/")) -> ProcessorTimes:
    """Processor time up to now.

    Args:
        root: where ``proc`` is, for tests.
    """
    own = os.times()
    own_s = own.user + own.system + own.children_user + own.children_system
    busy_s, steal_s = None, 0.0
    try:
        fields = (root / "proc/stat").read_text(encoding="ascii").splitlines()[0].split()
        ticks = [int(field) / os.sysconf("SC_CLK_TCK") for field in fields[1:9]]
        user, nice, system, _, _, irq, soft_irq, steal_s = ticks  # see proc(5)
        busy_s = user + nice + system + irq + soft_irq
    except (OSError, ValueError, IndexError, AttributeError):
        pass
    return ProcessorTimes(busy_s, steal_s, own_s, time.monotonic())


def disturbance(before: ProcessorTimes, after: ProcessorTimes) -> dict[str, float | str]:
    """How many processors others kept busy in the mean, and which share was stolen; ready to be written as JSON."""
    elapsed_s = max(after.wall_s - before.wall_s, 1e-3)
    if before.busy_s is None or after.busy_s is None:
        return {"others_cores": NOT_MEASURED, "steal_share": NOT_MEASURED}
    others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    steal_share = (after.steal_s - before.steal_s) / elapsed_s / (os.cpu_count() or 1)
    return {"others_cores": round(max(0.0, others_s / elapsed_s), 3), "steal_share": round(max(0.0, steal_share), 4)}


def drift(samples: Sequence[float]) -> dict[str, float] | None:
    """How the last third of the samples compares with the first, in the order of measuring.

    Returns:
        ``ratio`` of the medians and ``doubt``, the two-sided probability of such an order among samples that do not
        drift (Mann and Whitney's rank test, normal approximation); None for too few samples.
    """
    if len(samples) < _LEAST_FOR_DRIFT:
        return None
    third = len(samples) // 3
    first, last = np.asarray(samples[:third]), np.asarray(samples[-third:])
    ordered = np.sort(first)
    wins = np.searchsorted(ordered, last, "left") + np.searchsorted(ordered, last, "right")
    z = (wins.sum() / 2 - third**2 / 2) / math.sqrt(third**2 * (2 * third + 1) / 12)
    return {
        "ratio": percentile(last.tolist(), 50) / max(percentile(first.tolist(), 50), 1e-9),
        "doubt": math.erfc(abs(float(z)) / math.sqrt(2)),
    }


def steadiness(processes: Sequence[Sequence[float]], disturbances: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What can be said of a scenario's samples and of the machine meanwhile; ready to be written as JSON.

    Args:
        processes: samples of each process, in the order of measuring.
        disturbances: of each process, from :func:`disturbance`.
    """
    medians = [percentile(samples, 50) for samples in processes]
    told = {
        key: [one[key] for one in disturbances if one[key] != NOT_MEASURED] for key in ("others_cores", "steal_share")
    }
    return {
        **{key: sum(found) / len(found) if found else NOT_MEASURED for key, found in told.items()},
        "drift": [drift(samples) for samples in processes],
        "process_medians_ms": medians,
    }


def doubts(scenarios: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What makes figures doubtful, one line for each kind.

    Args:
        scenarios: of each, by name, what :func:`steadiness` found.
    """
    lines = []
    others = {name: one["others_cores"] for name, one in scenarios.items() if one["others_cores"] != NOT_MEASURED}
    busy = {name: cores for name, cores in others.items() if cores > _OTHERS_CORES}
    if busy:
        lines.append(
            f"other processes kept {max(busy.values()):.1f} processors busy during {', '.join(busy)}; "
            "end them and measure again"
        )
    stolen = [one["steal_share"] for one in scenarios.values() if one["steal_share"] != NOT_MEASURED]
    if max(stolen, default=0.0) > _STEAL_SHARE:
        lines.append(f"this virtual machine was kept waiting for {max(stolen):.0%} of the time")
    drifts = {name: change for name, one in scenarios.items() if (change := _drifting(one["drift"])) is not None}
    if drifts:
        changes = ", ".join(f"{name} {change:+.0%}" for name, change in drifts.items())
        lines.append(
            f"times drift from the first third to the last ({changes}); measure for longer, or wait until the machine "
            "is as warm as it gets"
        )
    apart = {
        name: max(medians) / min(medians) - 1
        for name, one in scenarios.items()
        if len(medians := one["process_medians_ms"]) > 1 and name != "cold"
    }
    wide = [f"{name} {share:.0%}" for name, share in apart.items() if share > _PROCESSES_APART]
    if wide:
        lines.append(f"processes differ in their medians ({', '.join(wide)}); measure with more --restarts")
    return lines


def _drifting(found: Sequence[Mapping[str, float] | None]) -> float | None:
    """By how much the times of most processes drift, if they do."""
    known = [one for one in found if one is not None]
    ratios = [one["ratio"] for one in known if one["doubt"] < _DRIFT_DOUBT and abs(one["ratio"] - 1) > _DRIFT]
    return percentile(ratios, 50) - 1 if ratios and 2 * len(ratios) >= len(known) else None
