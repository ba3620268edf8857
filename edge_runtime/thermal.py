"""How warm the board is, how fast its processors are clocked, and whether it slows itself down."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_PI_BITS = {
    0: "under-voltage",
    1: "clock capped",
    2: "throttled",
    3: "soft temperature limit",
}
_PI_SINCE_START = 16  # the same bits again, for "has happened since the board was started"


@dataclass(frozen=True, slots=True)
class Throttling:
    """Whether a board slows itself down.

    Attributes:
        now: what holds at this moment, in words.
        since_start: what has happened since the board was started.
        events: how often the processors were slowed down since then; None where nobody counts.
    """

    now: tuple[str, ...]
    since_start: tuple[str, ...]
    events: int | None = None


def temperature_c(*, root: Path = Path("/")) -> float | None:
    """The hottest thermal zone in degrees Celsius; None where there is no sensor.

    Args:
        root: where ``sys`` is, for tests.
    """
    found = []
    for zone in (root / "sys/class/thermal").glob("thermal_zone*/temp"):
        text = system_text(zone)
        if text.lstrip("-").isdigit() and 0 < int(text) < 150_000:  # a dead sensor says 0 or -273 degrees
            found.append(int(text) / 1000)
    return max(found, default=None)


def clock_mhz(*, root: Path = Path("/")) -> float | None:
    """The processors' clock now, their mean in MHz; None where nobody says it."""
    found = [int(text) / 1000 for text in _of_processors(root, "cpufreq/scaling_cur_freq")]
    if not found and re.search("^cpu MHz", info := system_text(root / "proc/cpuinfo"), re.MULTILINE):
        found = [float(mhz) for mhz in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", info, re.MULTILINE)]
    return sum(found) / len(found) if found else None


def highest_clock_mhz(*, root: Path = Path("/")) -> float | None:
    """The highest clock that the fastest processor is allowed, in MHz; None where nobody says it."""
    return max((int(text) / 1000 for text in _of_processors(root, "cpufreq/scaling_max_freq")), default=None)


def throttling(*, root: Path = Path("/")) -> Throttling | None:
    """Whether the board slows itself down: of a Raspberry Pi its firmware's word, of a PC the processors' counters.

    None where nobody says it.
    """
    word = system_text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    if re.fullmatch(r"(0x)?[0-9a-fA-F]+", word):
        bits = int(word, 16)
        return Throttling(_named(bits), _named(bits >> _PI_SINCE_START))
    events = [int(text) for text in _of_processors(root, "thermal_throttle/core_throttle_count")]
    return Throttling((), ("throttled",) if sum(events) else (), sum(events)) if events else None


def system_text(path: Path) -> str:
    """What a file under ``/proc`` or ``/sys`` says; nothing where it is missing or may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _of_processors(root: Path, name: str) -> list[str]:
    """The whole numbers that the processors' files of this name say."""
    texts = map(system_text, (root / "sys/devices/system/cpu").glob(f"cpu[0-9]*/{name}"))
    return [text for text in texts if text.isdigit()]


def _named(bits: int) -> tuple[str, ...]:
    return tuple(name for bit, name in _PI_BITS.items() if bits >> bit & 1)
