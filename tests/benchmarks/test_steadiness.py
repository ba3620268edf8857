from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from crackedge.benchmarks.machine import NOT_MEASURED
from crackedge.benchmarks.steadiness import (
    ProcessorTimes,
    disturbance,
    doubts,
    drift,
    processor_times,
    steadiness,
)

QUIET = {"others_cores": 0.0, "steal_share": 0.0}


def test_processor_time_is_that_of_the_machine_less_our_own() -> None:
    before = ProcessorTimes(busy_s=100.0, steal_s=3.0, own_s=20.0, wall_s=1000.0)
    after = ProcessorTimes(busy_s=118.0, steal_s=3.0 + 0.4 * (os.cpu_count() or 1), own_s=35.0, wall_s=1010.0)
    found = disturbance(before, after)
    assert found == {"others_cores": pytest.approx(0.3), "steal_share": pytest.approx(0.04)}


def test_the_fields_of_proc_stat(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("cpu  1000 200 300 9999 50 6 4 70 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    ticks = os.sysconf("SC_CLK_TCK")
    found = processor_times(root=tmp_path)
    assert (found.busy_s, found.steal_s) == (1510 / ticks, 70 / ticks)


@pytest.mark.parametrize("text", [None, "", "cpu 1 2", "intr 5"])
def test_a_machine_that_does_not_count_is_not_measured(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/stat").write_text(text)
    times = processor_times(root=tmp_path)
    assert disturbance(times, times) == {"others_cores": NOT_MEASURED, "steal_share": NOT_MEASURED}


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="no /proc/stat here")
def test_a_child_that_we_waited_for_counts_as_our_own() -> None:
    before = processor_times()
    subprocess.run([sys.executable, "-c", "sum(i * i for i in range(2_000_000))"], check=True)
    after = processor_times()
    assert after.own_s - before.own_s > 0.05
    assert after.busy_s is not None


def test_a_drift_is_found_and_noise_is_not_called_one() -> None:
    rng = np.random.default_rng(2)
    warming = (10 + np.linspace(0, 2, 90) + rng.normal(0, 0.3, 90)).tolist()
    found = drift(warming)
    assert found is not None
    assert found["ratio"] == pytest.approx(1.13, abs=0.04)
    assert found["doubt"] < 1e-6
    noise = [drift(rng.lognormal(2, 0.3, 90).tolist()) for _ in range(400)]
    assert np.mean([one is not None and one["doubt"] < 0.05 for one in noise]) == pytest.approx(0.05, abs=0.035)
    assert drift([1.0] * 29) is None
    still = drift([5.0] * 60)
    assert still == {"ratio": 1.0, "doubt": 1.0}


def test_what_makes_figures_doubtful_is_said_once_for_each_kind() -> None:
    rng = np.random.default_rng(4)

    def level(ms: float) -> list[float]:
        return [float(one) for one in ms + rng.normal(0, 0.1, 60)]

    calm = steadiness([level(10), level(10.2)], [QUIET, QUIET])
    assert doubts({"tile": calm, "frame": calm}) == []
    busy = steadiness([level(10), level(10)], [{"others_cores": 0.9, "steal_share": 0.0}] * 2)
    assert [line.split(";")[0] for line in doubts({"tile": busy, "frame": busy, "file": calm})] == [
        "other processes kept 0.9 processors busy during tile, frame"
    ]
    stolen = steadiness([level(10)], [{"others_cores": 0.0, "steal_share": 0.2}])
    assert "kept waiting for 20%" in doubts({"tile": stolen})[0]
    rising = (10 + np.linspace(0, 3, 60)).tolist()
    drifting = doubts({"tile": steadiness([rising, rising, level(11.5)], [QUIET] * 3)})
    assert "drift" in drifting[0]
    assert "tile +19%" in drifting[0]
    apart = doubts({"tile": steadiness([level(10), level(14)], [QUIET, QUIET])})
    assert "processes differ in their medians (tile 40%)" in apart[0]


def test_starts_of_processes_may_differ() -> None:
    assert doubts({"cold": steadiness([[100.0], [150.0]], [QUIET, QUIET])}) == []
