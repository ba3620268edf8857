from __future__ import annotations

from pathlib import Path

import pytest

from crackedge.edge_runtime.thermal import Throttling, clock_mhz, highest_clock_mhz, temperature_c, throttling


def put(root: Path, place: str, text: str) -> None:
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text(text)


def test_the_hottest_zone_counts_and_dead_sensors_do_not(tmp_path: Path) -> None:
    for zone, text in enumerate(("48200\n", "51750\n", "-273000\n", "0\n", "nothing\n", "900000\n")):
        put(tmp_path, f"sys/class/thermal/thermal_zone{zone}/temp", text)
    assert temperature_c(root=tmp_path) == 51.75


def test_the_clock_is_the_mean_of_the_processors(tmp_path: Path) -> None:
    for core, (now, most) in enumerate(((1_500_000, 2_400_000), (600_000, 1_800_000))):
        put(tmp_path, f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq", f"{now}\n")
        put(tmp_path, f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_max_freq", f"{most}\n")
    assert (clock_mhz(root=tmp_path), highest_clock_mhz(root=tmp_path)) == (1050, 2400)


def test_without_frequency_scaling_the_processor_says_its_clock(tmp_path: Path) -> None:
    put(tmp_path, "proc/cpuinfo", "processor\t: 0\ncpu MHz\t\t: 2500.5\n\nprocessor\t: 1\ncpu MHz\t\t: 2600.5\n")
    assert clock_mhz(root=tmp_path) == pytest.approx(2550.5)


@pytest.mark.parametrize(
    ("word", "now", "since_start"),
    [
        ("0", (), ()),
        ("0x50005", ("under-voltage", "throttled"), ("under-voltage", "throttled")),
        ("80008", ("soft temperature limit",), ("soft temperature limit",)),
        ("20000", (), ("clock capped",)),
    ],
)
def test_a_raspberry_pi_says_what_slows_it_down(
    tmp_path: Path, word: str, now: tuple[str, ...], since_start: tuple[str, ...]
) -> None:
    put(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", f"{word}\n")
    assert throttling(root=tmp_path) == Throttling(now, since_start)


def test_a_pc_counts_how_often_it_was_slowed_down(tmp_path: Path) -> None:
    put(tmp_path, "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "0\n")
    put(tmp_path, "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "0\n")
    assert throttling(root=tmp_path) == Throttling((), (), 0)
    put(tmp_path, "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "7\n")
    assert throttling(root=tmp_path) == Throttling((), ("throttled",), 7)


def test_a_board_without_sensors_says_nothing(tmp_path: Path) -> None:
    assert temperature_c(root=tmp_path) is None
    assert clock_mhz(root=tmp_path) is None
    assert highest_clock_mhz(root=tmp_path) is None
    assert throttling(root=tmp_path) is None
    put(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", "no firmware\n")
    assert throttling(root=tmp_path) is None
