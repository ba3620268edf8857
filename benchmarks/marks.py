"""What a run marked, read back from its ``results.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crackedge.edge_runtime.errors import DataError


@dataclass(frozen=True, slots=True)
class FrameMarks:
    """The marks of one frame.

    Attributes:
        size_wh: of the frame, in pixels; cells end there.
        cells: row, column on the lattice of 32 pixels of each marked cell.
    """

    size_wh: tuple[int, int]
    cells: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class RunMarks:
    """The marks of a run.

    Attributes:
        source: what was run.
        model: its name.
        sha256: of the model's file.
        plan: how it ran, as the header says.
        frames: by index.
    """

    source: str
    model: str
    sha256: str
    plan: dict[str, Any]
    frames: dict[int, FrameMarks]


def read_marks(results: Path) -> RunMarks:
    """The marks in a ``results.jsonl``.

    Raises:
        DataError: it cannot be read, or is not what a run writes.
    """
    try:
        lines = results.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{results}: cannot be read ({error.strerror}); give the results.jsonl of a run") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{results}: is no text; give the results.jsonl of a run") from error
    run: RunMarks | None = None
    for number, line in enumerate(lines, 1):
        run = _with_line(run, line, where=f"{results}: line {number}")
    if run is None:
        raise DataError(f"{results}: no header in it; give the results.jsonl of a run")
    return run


def _with_line(run: RunMarks | None, line: str, *, where: str) -> RunMarks | None:
    try:
        record = json.loads(line)
        if record["type"] == "header":
            return _begun(record)
        if record["type"] == "frame" and run is not None:
            run.frames[int(record["index"])] = _frame(record)
    except (ValueError, TypeError, KeyError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{where} is no record ({reason}); give the results.jsonl of a run") from error
    return run


def _begun(header: dict[str, Any]) -> RunMarks:
    model = header["model"]
    return RunMarks(str(header["source"]["uri"]), str(model["name"]), str(model["sha256"]), dict(header["plan"]), {})


def _frame(record: dict[str, Any]) -> FrameMarks:
    cells = [(int(row), int(col)) for region in record["regions"] for row, col in region["cells"]]
    return FrameMarks((int(record["width"]), int(record["height"])), cells)
