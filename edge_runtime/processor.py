"""What processor this is, and how much of it this process may use."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from crackedge.edge_runtime.thermal import system_text

_VECTOR_INSTRUCTIONS = {  # as Linux calls them, the fastest for int8 first
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX VNNI",
    "avx512bw": "AVX-512",
    "avx2": "AVX2",
    "i8mm": "i8mm",
    "asimddp": "dotprod",
    "asimd": "NEON",
    "neon": "NEON",
}


def usable_cores() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name(*, root: Path = Path("/")) -> str | None:
    """The processor as the system names it; None where it does not.

    Args:
        root: where ``proc`` is, for tests.
    """
    fields: dict[str, str] = {}
    for line in system_text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    for key in ("model name", "hardware", "cpu model"):
        if fields.get(key):
            return fields[key]
    if "cpu part" in fields:  # arm64 gives numbers instead of names
        return f"ARM implementer {fields.get('cpu implementer', '?')} part {fields['cpu part']}"
    return platform.processor() or None


def vector_instructions(*, root: Path = Path("/")) -> str | None:
    """What int8 networks gain most from: ``"AVX2"``, ``"dotprod"`` and the like; None where the system does not say.

    Processors of one name differ in it, and by a factor of three in speed.

    Args:
        root: where ``proc`` is, for tests.
    """
    for line in system_text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            flags = set(value.split())
            return next((name for flag, name in _VECTOR_INSTRUCTIONS.items() if flag in flags), None)
    return None
