from __future__ import annotations

import json
from pathlib import Path

import pytest

from crackedge.benchmarks.machine import NOT_MEASURED, describe_machine, describe_state, format_machine, warnings


def put(root: Path, place: str, text: str) -> None:
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text(text)


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """The files of a small arm64 board."""
    put(
        tmp_path,
        "proc/cpuinfo",
        "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\nprocessor\t: 1\nCPU part\t: 0xd0b\n",
    )
    put(tmp_path, "proc/meminfo", "MemTotal:        8245612 kB\nMemFree: 1 kB\n")
    put(tmp_path, "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    put(tmp_path, "sys/class/thermal/thermal_zone0/temp", "48200\n")
    put(tmp_path, "sys/class/thermal/thermal_zone1/temp", "51750\n")
    put(tmp_path, "sys/class/thermal/thermal_zone2/temp", "-273000\n")
    for core, governor in enumerate(("ondemand", "ondemand")):
        put(tmp_path, f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor", governor + "\n")
    return tmp_path


def test_a_board_says_what_it_is(board: Path) -> None:
    machine = describe_machine(root=board)
    assert machine["cpu"] == "ARM implementer 0x41 part 0xd0b"
    assert machine["board"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert machine["governor"] == "ondemand"
    assert machine["temperature_c"] == 51.75
    assert machine["memory_mib"] == 8052
    assert "numpy" in machine["packages"]
    assert any("ondemand" in warning for warning in warnings(machine))
    text = format_machine(machine)
    assert "52 °C" in text
    assert "warning: the CPU governor is ondemand" in text


def test_what_is_not_told_is_not_measured(tmp_path: Path) -> None:
    machine = describe_machine(root=tmp_path)
    for key in ("board", "governor", "temperature_c", "clock_mhz", "clock_highest_mhz", "throttling", "memory_mib"):
        assert machine[key] == NOT_MEASURED
    assert NOT_MEASURED in format_machine(machine)
    assert not any("governor" in warning for warning in warnings(machine))


def test_a_busy_machine_is_warned_of(board: Path) -> None:
    machine = describe_machine(root=board) | {"governor": "performance", "load_1_min": 3.1, "cores_usable": 4}
    assert [warning.split(":")[0] for warning in warnings(machine)] == ["the machine was busy before the start"]
    assert warnings(machine | {"load_1_min": 0.1}) == []


def test_a_state_is_told_before_and_after(board: Path) -> None:
    throttled = "sys/devices/platform/soc/soc:firmware/get_throttled"
    put(board, throttled, "0")
    put(board, "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "2400000")
    machine = describe_machine(root=board) | {"governor": "performance", "load_1_min": 0.1}
    put(board, throttled, "20000")
    put(board, "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1500000")
    put(board, "sys/class/thermal/thermal_zone0/temp", "82000")
    after = describe_state(root=board)
    text = format_machine(machine, after)
    assert "clock 2400 to 1500 MHz" in text
    assert "temperature 52 to 82 °C" in text
    assert "throttling none now, earlier clock capped" in text
    assert "slowed itself down while it was measured" in warnings(machine, after)[0]
    put(board, throttled, "60006")
    assert "slows itself down (clock capped, throttled)" in warnings(machine, describe_state(root=board))[0]
    assert warnings(machine, machine) == []


def test_the_fingerprint_is_the_machines_and_not_the_moments(board: Path) -> None:
    before = describe_machine(root=board)["fingerprint"]
    put(board, "sys/class/thermal/thermal_zone0/temp", "70000")
    assert describe_machine(root=board)["fingerprint"] == before
    put(board, "proc/device-tree/model", "Another board")
    assert describe_machine(root=board)["fingerprint"] != before


def test_processors_of_one_name_with_other_vector_instructions_are_other_machines(board: Path) -> None:
    found = []
    for features in ("fp asimd", "fp asimd asimddp"):
        put(board, "proc/cpuinfo", f"processor\t: 0\nFeatures\t: {features}\nCPU part\t: 0xd0b\n")
        found.append(describe_machine(root=board))
    assert [one["vector_instructions"] for one in found] == ["NEON", "dotprod"]
    assert found[0]["cpu"] == found[1]["cpu"]
    assert found[0]["fingerprint"] != found[1]["fingerprint"]
    assert "with dotprod, board" in format_machine(found[1])


def test_this_machine_is_described_in_plain_json() -> None:
    machine = describe_machine()
    assert json.loads(json.dumps(machine)) == machine
    assert machine["cores_usable"] >= 1
    assert len(machine["fingerprint"]) == 12
