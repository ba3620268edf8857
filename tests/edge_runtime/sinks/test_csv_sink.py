"""CSV: what spreadsheets will read."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from crackedge.edge_runtime import OutputError
from crackedge.edge_runtime.sinks.csv_sink import COLUMNS, CsvSink
from crackedge.edge_runtime.sinks.sink import Recorded


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_line_for_each_region_and_lines_are_added(scanned: Any, tmp_path: Path) -> None:
    path = tmp_path / "cracks.csv"
    for file in (None, 'Wand, "Süd".jpg'):
        with Recorded(CsvSink(path)) as sink:
            sink.note({"type": "header"})
            for cracks in (0, 2, 1):
                sink.write(*scanned(cracks, cracks=cracks, file=file))
            sink.finish()
            sink.note({"type": "summary"})
    rows = rows_of(path)
    assert list(rows[0]) == list(COLUMNS)
    assert [row["frame"] for row in rows] == ["2", "2", "1"] * 2
    assert rows[1] == {
        "frame": "2", "time_s": "0.2", "captured_at": "", "file": "", "x0": "64", "y0": "0", "x1": "112", "y1": "32",
        "score": "0.89", "cells": "2",
    }  # fmt: skip
    assert rows[3]["file"] == 'Wand, "Süd".jpg'


def test_a_name_that_is_no_utf_8_has_its_escapes(scanned: Any, tmp_path: Path) -> None:
    with Recorded(CsvSink(tmp_path / "cracks.csv")) as sink:
        sink.write(*scanned(0, cracks=1, file="W\udce4nd.jpg"))
        sink.finish()
    assert rows_of(tmp_path / "cracks.csv")[0]["file"] == r"W\udce4nd.jpg"


def test_other_columns_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(OutputError, match="of another kind"):
        CsvSink(path)
    assert path.read_text() == "a,b\n1,2\n"
