"""What machine this is, and in which state: said beside every figure of speed, because it means nothing without."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crackedge.edge_runtime.processor import processor_name, usable_cores, vector_instructions
from crackedge.edge_runtime.thermal import clock_mhz, highest_clock_mhz, system_text, temperature_c, throttling

NOT_MEASURED = "not measured"
_PACKAGES = ("numpy", "opencv-python-headless", "opencv-python", "av", "ai-edge-litert", "tflite-runtime", "crackedge")


def describe_machine(*, root: Path = Path("/")) -> dict[str, Any]:
    """CPU, board, cores, system, versions, and the state of this moment; ready to be written as JSON.

    What the machine does not tell is ``"not measured"``, never a guess. ``fingerprint`` is the same for the same kind
    of machine under the same core limit, and says nothing about its owner.

    Args:
        root: where ``proc`` and ``sys`` are, for tests.
    """
    machine = {
        "cpu": processor_name(root=root) or NOT_MEASURED,
        "architecture": platform.machine() or NOT_MEASURED,
        "board": _board(root),
        "vector_instructions": vector_instructions(root=root) or NOT_MEASURED,
        "cores_usable": usable_cores(),
        "cores_total": os.cpu_count() or NOT_MEASURED,
        "memory_mib": _memory_mib(root),
    }
    of_a_kind = ("cpu", "architecture", "board", "vector_instructions", "cores_usable")
    identity = "|".join(str(machine[key]) for key in of_a_kind)
    return {
        "fingerprint": hashlib.sha256(identity.encode()).hexdigest()[:12],
        **machine,
        **describe_state(root=root),
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": _packages(),
    }


def describe_state(*, root: Path = Path("/")) -> dict[str, Any]:
    """What changes while a machine works: governor, clock, temperature, throttling, load; ready to be written as JSON.

    Args:
        root: where ``proc`` and ``sys`` are, for tests.
    """
    slowed = throttling(root=root)
    return {
        "governor": _governor(root),
        "clock_mhz": _told(clock_mhz(root=root)),
        "clock_highest_mhz": _told(highest_clock_mhz(root=root)),
        "temperature_c": _told(temperature_c(root=root)),
        "throttling": NOT_MEASURED
        if slowed is None
        else {"now": list(slowed.now), "since_start": list(slowed.since_start), "events": slowed.events},
        "load_1_min": _load(),
    }


def warnings(before: Mapping[str, Any], after: Mapping[str, Any] | None = None) -> list[str]:
    """What in a machine's state makes figures of speed doubtful, one line each.

    Args:
        before: from :func:`describe_machine`.
        after: from :func:`describe_state`, at the end of the measurement.
    """
    found = []
    governor = before["governor"]
    if governor not in (NOT_MEASURED, "performance"):
        found.append(f"the CPU governor is {governor}; for figures to compare set it to performance")
    load, cores = before["load_1_min"], before["cores_usable"]
    if isinstance(load, float) and load > 0.5 * cores:
        found.append(f"the machine was busy before the start: load {load:.1f} on {cores} cores")
    slowed = [state["throttling"] for state in (before, after) if state and state["throttling"] != NOT_MEASURED]
    now = sorted({what for one in slowed for what in one["now"]})
    if now:
        found.append(f"the board slows itself down ({', '.join(now)}); see to its cooling and its power supply")
    elif len(slowed) == 2 and slowed[0] != slowed[1]:
        found.append("the board slowed itself down while it was measured; see to its cooling and its power supply")
    return found


def format_machine(machine: Mapping[str, Any], after: Mapping[str, Any] | None = None) -> str:
    """The machine in a few lines for the terminal, with its state before the measurement and after."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    states = [state for state in (machine, after) if state]
    return "\n".join(
        [
            f"machine {machine['fingerprint']}: {machine['cpu']}, {machine['architecture']} "
            f"with {machine['vector_instructions']}, board {machine['board']}",
            f"cores usable {machine['cores_usable']} of {machine['cores_total']}, governor {machine['governor']}, "
            f"clock {_course(states, 'clock_mhz', 'MHz')}, temperature {_course(states, 'temperature_c', '°C')}, "
            f"throttling {_throttled(states[-1])}, load before {machine['load_1_min']}",
            f"{machine['system']}, {machine['python']}, {packages}",
            *(f"warning: {warning}" for warning in warnings(machine, after)),
        ]
    )


def _course(states: list[Mapping[str, Any]], key: str, unit: str) -> str:
    """A figure before and after, or what there is."""
    figures = [f"{state[key]:.0f}" for state in states if state[key] != NOT_MEASURED]
    return f"{' to '.join(dict.fromkeys(figures))} {unit}" if figures else NOT_MEASURED


def _throttled(state: Mapping[str, Any]) -> str:
    found = state["throttling"]
    if found == NOT_MEASURED:
        return NOT_MEASURED
    earlier = f"none now, earlier {', '.join(found['since_start'])}" if found["since_start"] else "none"
    return ", ".join(found["now"]) or earlier


def _told(figure: float | None) -> float | str:
    return NOT_MEASURED if figure is None else figure


def _board(root: Path) -> str:
    for place in ("proc/device-tree/model", "sys/firmware/devicetree/base/model", "sys/class/dmi/id/product_name"):
        if text := system_text(root / place).strip("\0 "):
            return text
    return NOT_MEASURED


def _governor(root: Path) -> str:
    places = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    found = sorted({text for place in places if (text := system_text(place))})
    return ", ".join(found) if found else NOT_MEASURED


def _memory_mib(root: Path) -> int | str:
    for line in system_text(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return NOT_MEASURED


def _load() -> float | str:
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):  # Windows has none
        return NOT_MEASURED


def _packages() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
