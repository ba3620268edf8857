"""The user's cache: what was measured once on this device, a small JSON file for each kind and identity.

A cache is a convenience. One that is damaged, foreign, or cannot be read or written is as good as empty.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crackedge.edge_runtime.errors import OutputError
from crackedge.edge_runtime.output_file import replacing

_LARGEST = 64 * 1024  # bytes; what else lies there is not read


def read_cached(kind: str, identity: Mapping[str, Any]) -> tuple[Path, dict[str, Any]] | None:
    """What was kept under an identity, and in which file; None where nothing whole was.

    Args:
        kind: name of the subfolder.
        identity: what the content holds for, ready for JSON; it stands in the file and must be the same.
    """
    place = _place(kind, identity)
    if place is None:
        return None
    try:
        with place.open("rb") as file:
            kept = json.loads(file.read(_LARGEST))
    except (OSError, ValueError, RecursionError):
        return None
    whole = isinstance(kept, dict) and kept.get("identity") == identity and isinstance(kept.get("content"), dict)
    return (place, kept["content"]) if whole else None


def write_cached(kind: str, identity: Mapping[str, Any], content: Mapping[str, Any]) -> Path | None:
    """Keep something under an identity; the file, or None where it cannot be written."""
    place = _place(kind, identity)
    if place is None:
        return None
    with contextlib.suppress(OSError, OutputError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as part:
            part.write_text(json.dumps({"identity": identity, "content": content}, indent=1), encoding="utf-8")
        return place
    return None


def _place(kind: str, identity: Mapping[str, Any]) -> Path | None:
    """Below ``XDG_CACHE_HOME``, if that is absolute, or ``~/.cache``; None where there is no home."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        cache = Path(named) if Path(named).is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return cache / "crackedge" / kind / f"{digest[:24]}.json"
