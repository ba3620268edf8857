"""What machine this is: said beside every figure of speed, because without it the figure means nothing."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

NOT_MEASURED = "not measured"
_PACKAGES = ("numpy", "opencv-python-headless", "opencv-python", "av", "ai-edge-litert", "tflite-runtime", "crackedge")


def describe_machine(*, root: Path = Path("/")) -> dict[str, Any]:
    """CPU, board, cores, governor, temperature, load, system and versions; ready to be written as JSON.

    What the machine does not tell is ``"not measured"``, never a guess. ``fingerprint`` is the same for the same kind
    of machine under the same core limit, and says nothing about its owner.

    Args:
        root: where ``proc`` and ``sys`` are, for tests.
    """
    machine = {
        "cpu": _cpu(root),
        "architecture": platform.machine() or NOT_MEASURED,
        "board": _board(root),
        "cores_usable": usable_cores(),
        "cores_total": os.cpu_count() or NOT_MEASURED,
        "memory_mib": _memory_mib(root),
    }
    identity = "|".join(str(machine[key]) for key in ("cpu", "architecture", "board", "cores_usable"))
    return {
        "fingerprint": hashlib.sha256(identity.encode()).hexdigest()[:12],
        **machine,
        "governor": _governor(root),
        "temperature_c": temperature_c(root=root),
        "load_1_min": _load(),
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": _packages(),
    }


def usable_cores() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def temperature_c(*, root: Path = Path("/")) -> float | str:
    """The hottest thermal zone in degrees Celsius, or ``"not measured"`` where there is none."""
    found = []
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*/temp")):
        text = _text(zone)
        if text.lstrip("-").isdigit() and 0 < int(text) < 150_000:  # a dead sensor says 0 or -273 degrees
            found.append(int(text) / 1000)
    return max(found) if found else NOT_MEASURED


def warnings(machine: dict[str, Any]) -> list[str]:
    """What in a machine's state makes figures of speed doubtful, one line each."""
    found = []
    governor = machine["governor"]
    if governor not in (NOT_MEASURED, "performance"):
        found.append(f"the CPU governor is {governor}; for figures to compare set it to performance")
    load, cores = machine["load_1_min"], machine["cores_usable"]
    if isinstance(load, float) and load > 0.5 * cores:
        found.append(f"the machine was busy before the start: load {load:.1f} on {cores} cores")
    return found


def format_machine(machine: dict[str, Any]) -> str:
    """The machine in a few lines for the terminal."""
    degrees = machine["temperature_c"]
    temperature = f"{degrees:.0f} °C" if isinstance(degrees, float) else degrees
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return "\n".join(
        [
            f"machine {machine['fingerprint']}: {machine['cpu']}, {machine['architecture']}, board {machine['board']}",
            f"cores usable {machine['cores_usable']} of {machine['cores_total']}, governor {machine['governor']}, "
            f"temperature {temperature}, load before {machine['load_1_min']}",
            f"{machine['system']}, {machine['python']}, {packages}",
            *(f"warning: {warning}" for warning in warnings(machine)),
        ]
    )


def _cpu(root: Path) -> str:
    fields: dict[str, str] = {}
    for line in _text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    for key in ("model name", "hardware", "cpu model"):
        if fields.get(key):
            return fields[key]
    if "cpu part" in fields:  # arm64 gives numbers instead of names
        return f"ARM implementer {fields.get('cpu implementer', '?')} part {fields['cpu part']}"
    return platform.processor() or NOT_MEASURED


def _board(root: Path) -> str:
    for place in ("proc/device-tree/model", "sys/firmware/devicetree/base/model", "sys/class/dmi/id/product_name"):
        if text := _text(root / place).strip("\0 "):
            return text
    return NOT_MEASURED


def _governor(root: Path) -> str:
    places = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    found = sorted({text for place in places if (text := _text(place))})
    return ", ".join(found) if found else NOT_MEASURED


def _memory_mib(root: Path) -> int | str:
    for line in _text(root / "proc/meminfo").splitlines():
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


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
