from __future__ import annotations

import time
from pathlib import Path

import pytest

from crackedge.benchmarks.energy import EnergyMeter


def put(place: Path, text: object) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"{text}\n")


def test_rapl_counts_packages_and_not_what_is_inside_them(tmp_path: Path) -> None:
    zones = tmp_path / "sys/class/powercap"
    for name, microjoules in (("intel-rapl:0", 1_000_000), ("intel-rapl:1", 9_500_000), ("intel-rapl:0:0", 5)):
        put(zones / name / "energy_uj", microjoules)
        put(zones / name / "max_energy_range_uj", 10_000_000)
    with EnergyMeter(root=tmp_path) as meter:
        put(zones / "intel-rapl:0/energy_uj", 4_000_000)
        put(zones / "intel-rapl:1/energy_uj", 500_000)  # it began again at 0
        put(zones / "intel-rapl:0:0/energy_uj", 999_999)
    assert meter.joules == pytest.approx(3.0 + 1.0)
    assert "RAPL" in meter.source


def test_a_counter_that_only_root_may_read_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").mkdir(parents=True)  # reading fails, for root too
    with EnergyMeter(root=tmp_path) as meter:
        pass
    assert meter.joules is None
    assert "root only" in meter.source


@pytest.mark.parametrize("form", ["power", "channels"])
def test_the_power_of_an_ina_monitor_is_added_up(tmp_path: Path, form: str) -> None:
    monitor = tmp_path / "sys/class/hwmon/hwmon3"
    put(tmp_path / "sys/class/hwmon/hwmon0/name", "cpu_thermal")
    put(monitor / "name", "ina226" if form == "power" else "ina3221")
    if form == "power":
        put(monitor / "power1_input", 5_000_000)  # 5 W
    else:  # a Jetson's: the first channel feeds the others
        for channel, label, millivolts, milliamperes in ((1, "VDD_IN", 5000, 1000), (2, "VDD_CPU", 5000, 400)):
            put(monitor / f"in{channel}_label", label)
            put(monitor / f"in{channel}_input", millivolts)
            put(monitor / f"curr{channel}_input", milliamperes)
    before = time.monotonic()
    with EnergyMeter(root=tmp_path, look_s=0.01) as meter:
        inside = time.monotonic()
        while time.monotonic() < inside + 0.1:
            time.sleep(0.01)
    elapsed_s = time.monotonic() - before
    assert meter.joules is not None
    assert 5 * 0.1 * 0.99 <= meter.joules <= 5 * elapsed_s * 1.01
    assert "ina" in meter.source


def test_a_board_without_either_is_not_measured(tmp_path: Path) -> None:
    with EnergyMeter(root=tmp_path) as meter:
        pass
    assert meter.joules is None
    assert meter.source == "no energy counter or power monitor"


def test_a_monitor_that_fails_meanwhile_adds_nothing(tmp_path: Path) -> None:
    monitor = tmp_path / "sys/class/hwmon/hwmon0"
    put(monitor / "name", "ina219")
    put(monitor / "power1_input", "broken")
    with EnergyMeter(root=tmp_path, look_s=0.01) as meter:
        pass
    assert meter.joules is None
