"""Memory of this process as the system counts it."""

from __future__ import annotations

import contextlib
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_memory_mib() -> int | None:
    """The most memory that this process has had since it began, or since :func:`forget_peak`; None where unknown."""
    return _field("VmHWM:")


def resident_memory_mib() -> int | None:
    """Memory that this process has now; None where unknown."""
    return _field("VmRSS:")


def forget_peak() -> None:
    """Let the peak begin anew from what is resident now; where that is not possible, it stays."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # see proc(5)


def _field(name: str) -> int | None:
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith(name)), None)
