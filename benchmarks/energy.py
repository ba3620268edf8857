"""Energy that a board reports of itself: RAPL's counters on PCs, INA power monitors elsewhere. Never an estimate."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from crackedge.edge_runtime.thermal import system_text

if TYPE_CHECKING:
    from typing import Self

_LOOK_S = 0.1  # between two looks at a power monitor
_TOTALS = re.compile(r"VDD_IN|POM_5V_IN|5V0?_IN|TOTAL", re.IGNORECASE)  # the channel that feeds all others


class EnergyMeter:
    """Counts joules inside its ``with`` block. A context manager.

    Args:
        root: where ``sys`` is, for tests.
        look_s: seconds between two looks at a power monitor, whose power is added up.

    Attributes:
        source: what reports the energy; why nothing does, where :attr:`joules` stays None.
        joules: of the whole board or processor, idle share included; None where nobody reports it.
    """

    def __init__(self, *, root: Path = Path("/"), look_s: float = _LOOK_S) -> None:
        self.joules: float | None = None
        self._look_s = look_s
        self._counters = _rapl_packages(root)
        self._power = _ina_power_w(root)
        self._leaving = threading.Event()
        self._thread: threading.Thread | None = None
        unreadable = bool(self._counters) and any(_number(place / "energy_uj") is None for place in self._counters)
        if self._counters and not unreadable:
            self.source = "RAPL, processor packages"
        elif self._power is not None:
            self.source = f"{self._power[0]}, power monitor"
        else:
            self.source = "RAPL can be read by root only" if unreadable else "no energy counter or power monitor"
        if unreadable:
            self._counters = []

    def __enter__(self) -> Self:
        self._before = [_number(place / "energy_uj") for place in self._counters]
        if not self._counters and self._power is not None:
            power_w = self._power[1]
            beginning = (power_w, time.monotonic(), power_w())
            self._thread = threading.Thread(target=self._add_up, args=beginning, name="energy", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._counters:
            used = [
                _passed(before, _number(place / "energy_uj"), _number(place / "max_energy_range_uj"))
                for place, before in zip(self._counters, self._before, strict=True)
            ]
            self.joules = None if None in used else sum(one for one in used if one is not None) / 1e6
        if self._thread is not None:
            self._leaving.set()
            self._thread.join()

    def _add_up(self, power_w: Callable[[], float | None], then: float, watts: float | None) -> None:
        leaving = False
        while not leaving:
            leaving = self._leaving.wait(self._look_s)
            now, watts_now = time.monotonic(), power_w()
            if watts is not None and watts_now is not None:
                self.joules = (self.joules or 0.0) + (watts + watts_now) / 2 * (now - then)
            then, watts = now, watts_now


def _rapl_packages(root: Path) -> list[Path]:
    """Folders of the processor packages; what is inside a package is counted with it."""
    zones = (root / "sys/class/powercap").glob("intel-rapl:*")
    return sorted(
        zone for zone in zones if re.fullmatch(r"intel-rapl:\d+", zone.name) and (zone / "energy_uj").exists()
    )


def _passed(before: float | None, after: float | None, most: float | None) -> float | None:
    """What a counter has counted, which begins again at 0 after its most."""
    if before is None or after is None:
        return None
    return after - before if after >= before else after - before + (most or 0.0)


def _ina_power_w(root: Path) -> tuple[str, Callable[[], float | None]] | None:
    """Name of a power monitor and how to read its watts: of several channels that which feeds the board, or all."""
    for monitor in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        name = system_text(monitor / "name")
        if not name.startswith("ina"):
            continue
        channels = [re.sub(r"\D", "", place.name) for place in sorted(monitor.glob("power*_input"))]
        if channels:
            return name, lambda: _sum(_number(monitor / f"power{one}_input", 1e-6) for one in channels)  # noqa: B023
        channels = [re.sub(r"\D", "", place.name) for place in sorted(monitor.glob("curr*_input"))]
        channels = [one for one in channels if (monitor / f"in{one}_input").exists()]
        total = [one for one in channels if _TOTALS.search(system_text(monitor / f"in{one}_label"))]
        if channels:
            return name, lambda: _sum(_volts_times_amperes(monitor, one) for one in total or channels)  # noqa: B023
    return None


def _volts_times_amperes(monitor: Path, channel: str) -> float | None:
    volts, amperes = _number(monitor / f"in{channel}_input", 1e-3), _number(monitor / f"curr{channel}_input", 1e-3)
    return None if volts is None or amperes is None else volts * amperes


def _sum(figures: Iterable[float | None]) -> float | None:
    known = list(figures)
    return None if None in known else sum(one for one in known if one is not None)


def _number(path: Path, scale: float = 1.0) -> float | None:
    with contextlib.suppress(ValueError):
        return float(system_text(path)) * scale
    return None
