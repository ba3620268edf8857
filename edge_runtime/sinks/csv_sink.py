"""CSV: a line for each crack region, for spreadsheets."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from crackedge.edge_runtime.errors import OutputError
from crackedge.edge_runtime.output_file import as_output_error
from crackedge.edge_runtime.records import Record
from crackedge.edge_runtime.sinks.jsonl import LineFile

if TYPE_CHECKING:
    from typing import Self

COLUMNS = ("frame", "time_s", "captured_at", "file", "x0", "y0", "x1", "y1", "score", "cells")


class CsvSink:
    """A CSV file of crack regions; ``cells`` is their number. For records, see :class:`.sink.Recorded`.

    Args:
        path: the file; lines are added where it has the same columns.

    Raises:
        OutputError: the file cannot be written, or has other columns.
    """

    def __init__(self, path: Path) -> None:
        columns = _line(COLUMNS)
        if path.is_file() and path.stat().st_size:
            with as_output_error(path), path.open("rb") as file:
                if file.readline(len(columns)) != columns:
                    raise OutputError(f"{path}: a file of another kind; give a new one, or one that crackedge wrote")
        self._lines = LineFile(path, append=True)
        self.name, self.files = self._lines.name, self._lines.files
        if self._lines.empty:
            self._lines.add(columns)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.__exit__(kind, error, trace)

    def note(self, record: Record) -> None:
        """Write the lines of a frame; see :class:`crackedge.edge_runtime.sinks.sink.RecordSink`."""
        if record["type"] == "frame" and record["regions"]:
            place = (record["index"], record["time_s"], record.get("captured_at"), record.get("file"))
            rows = ((*place, *region["bbox"], region["score"], len(region["cells"])) for region in record["regions"])
            self._lines.add(b"".join(_line(row) for row in rows))

    def finish(self) -> None:
        """Nothing is held back."""


def _line(row: tuple[object, ...]) -> bytes:
    """A row; names that are no UTF-8 as in :func:`crackedge.edge_runtime.sinks.sink.json_line`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue().encode(errors="backslashreplace")
