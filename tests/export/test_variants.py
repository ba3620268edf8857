from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from crackedge.edge_runtime.errors import ModelError, ProofError
from crackedge.edge_runtime.models.card import ModelCard
from crackedge.export import variants

WriteModel = Callable[..., Path]


@pytest.fixture
def compared(
    write_model: WriteModel, card: Callable[..., ModelCard], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """A table of variants that cost what is said: tile and frame in milliseconds."""

    def compare(**costs: tuple[float, float | None]) -> dict[str, Any]:
        figures = {"none": {"n": 3, "accuracy": 0.75, "auc": None}}
        equal = {"none": {"n": 6, "decisions_equal": 0.984, "mean_abs_logit": 0.1}}
        check = {"tolerance": {"auc_loss": 0.01}, "sets": {"tiles": equal, "dense": equal}}
        told = card(metrics={"tiles": figures, "dense": figures}, quantization_check=check)
        path = write_model("logit-map-int8", card=told)
        measured = iter(costs.values())

        def cost(_: Path) -> dict[str, Any]:
            tile_ms, frame_ms = next(measured)
            return {"tile_ms": tile_ms, "frame_ms": frame_ms, "peak_memory_mib": None, "accelerated": 0.5}

        monkeypatch.setattr(variants, "cost", cost)
        return variants.table(dict.fromkeys(costs, (told, path)), {"dynamic": "it <drowned> in rounding"})

    return compare


def test_the_fastest_on_a_frame_is_kept(compared: Callable[..., dict[str, Any]]) -> None:
    assert variants.fastest(compared(int8=(2.0, 20.0), float16=(1.0, 30.0))) == "int8"
    assert variants.fastest(compared(int8=(2.0, 40.0), float16=(3.0, 30.0))) == "float16"
    assert variants.fastest(compared(int16x8=(400.0, None), float32=(90.0, 900.0))) == "float32"
    assert variants.fastest(compared(int16x8=(400.0, None), float32=(300.0, None))) == "float32", "by their tiles"


def test_none_is_kept_where_none_was_proven(compared: Callable[..., dict[str, Any]]) -> None:
    table = compared(int8=(2.0, 20.0))
    table["variants"] = [one for one in table["variants"] if one["failed"]]
    with pytest.raises(ProofError, match="no variant stayed within the tolerance"):
        variants.fastest(table)


def test_the_table_says_cost_and_worth_and_what_failed(compared: Callable[..., dict[str, Any]]) -> None:
    table = compared(int8=(2.0, 20.0), int16x8=(400.0, None))
    json.dumps(table)
    lines = variants.format_table(table).splitlines()
    assert lines[0].split() == ["variant", "MB", "tile", "ms", "frame", "1080p", "ms", "peak", "MiB", "accelerated"]
    assert lines[1].split() == ["int8", "0.00", "2.00", "20.00", "-", "50%"]
    assert lines[2].split()[:4] == ["int16x8", "0.00", "400.00", "-"]
    text = "\n".join(lines)
    assert "accuracy, tiles" in text
    assert "none (n=3)" in text
    assert "decisions as float32's, dense" in text
    assert "0.984" in text
    assert "dynamic failed: it <drowned> in rounding" in text
    assert "measured on this machine:\nmachine " in text


class _Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.cells.append(data.strip())


def test_the_page_needs_nothing_else(compared: Callable[..., dict[str, Any]]) -> None:
    page = variants.to_html(compared(int8=(2.0, 20.0)))
    outline = _Outline()
    outline.feed(page)
    assert outline.addresses == []
    assert "drowned" in page
    assert "<drowned>" not in page
    assert {"int8", "2.00", "20.00", "AUC, dense", "none (n=6)"} <= set(outline.cells)


def test_a_cost_is_measured_in_a_process_of_its_own(
    write_model: WriteModel, card: Callable[..., ModelCard], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = variants.cost(write_model("logit-map-int8", card=card()))
    assert 0 < found["tile_ms"] < found["frame_ms"]
    assert found["samples"]["tile"] >= 3
    assert found["peak_memory_mib"] is None or 40 < found["peak_memory_mib"] < 1000
    assert 0 <= found["accelerated"] <= 1


def test_a_file_that_does_not_run_says_so(tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"broken\.tflite: could not be measured \(.*not a TFLite file"):
        variants.cost(tmp_path / "broken.tflite")
