from __future__ import annotations

import json
import math
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from crackedge.benchmarks.bench_page import bench_page, sweep_page
from crackedge.benchmarks.bench_report import format_bench, milliseconds
from crackedge.benchmarks.comparison import read_bench
from crackedge.benchmarks.data_sets import find_sets
from crackedge.benchmarks.footage import FootageStore
from crackedge.benchmarks.intervals import percentile
from crackedge.benchmarks.latency import SCHEMA, bench
from crackedge.benchmarks.sweep import format_sweep, plans_of, sweep
from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.models.model import Model, open_model

SIZE = (320, 240)


@pytest.fixture(scope="module")
def store() -> Iterator[FootageStore]:
    with FootageStore() as made:
        yield made


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Model:
    return open_model(tiny_model)


@pytest.fixture(scope="module")
def result(model: Model, store: FootageStore) -> dict[str, Any]:
    return bench(model, store, duration_s=0.4, restarts=2, size=SIZE, fps=20, threads=1)


class Tags(HTMLParser):
    """Counts the tags of a page, and refuses what would be loaded from elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not {"src", "href"} & {name for name, _ in attrs}
        assert tag not in ("script", "link")
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_data(self, data: str) -> None:
        self.words += data


def test_figures_come_from_samples_of_several_processes(result: dict[str, Any], model: Model) -> None:
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["model"]["sha256"] == model.sha256
    assert result["input"] == {"width": 320, "height": 240, "pictures": 8, "source": "scene"}
    assert list(result["scenarios"]) == ["tile", "frame", "stream", "file", "cold", "null"]
    for name, one in result["scenarios"].items():
        assert len(one["samples_ms"]) == (5 if name == "cold" else 2)
        pooled = [ms for samples in one["samples_ms"] for ms in samples]
        assert one["ms"]["n"] == len(pooled)
        assert one["ms"]["p50"]["value"] == percentile(pooled, 50)
        assert one["ms"]["p50"]["low"] <= one["ms"]["p50"]["value"] <= one["ms"]["p50"]["high"]
        assert (one["p90_bound"]["bound"] is None) == (len(pooled) < 64)
    stream = result["scenarios"]["stream"]
    assert stream["captured"] == stream["ms"]["n"] + stream["dropped"]
    assert set(result["scenarios"]["cold"]["stages_ms"]) == {"start", "import", "model", "first frame"}


def test_a_measurement_can_be_read_again_as_a_baseline(result: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(result))
    assert read_bench(file, schema=SCHEMA) == result


def test_the_terminal_is_told_all_of_it(result: dict[str, Any]) -> None:
    text = format_bench(result)
    assert result["machine"]["fingerprint"] in text
    assert result["model"]["sha256"][:12] in text
    for word in ("p50", "95 %", "p90 at most*", "too few", "dropped", "encode", "MiB", "energy", "temperature"):
        assert word in text
    assert "none AUC" not in text
    assert "not measured here (give --data)" in text
    assert "null: what the harness adds to a call" in text
    assert max(len(line) for line in text.splitlines()[5:13]) <= 100, "a table for narrow terminals"


def test_the_page_has_a_plot_for_each_scenario_and_needs_nothing_else(result: dict[str, Any]) -> None:
    tags = Tags(bench_page(result))
    assert tags.count["svg"] == 5
    assert tags.count["table"] == 1
    assert "p90 at most*" in tags.words


def test_accuracy_is_measured_here_where_data_are_given(model: Model, store: FootageStore, photographs: Path) -> None:
    sets = [one for one in find_sets(photographs) if one.name in ("tiles", "boxed")]
    found = bench(
        model, store, scenarios=["null", "tile"], duration_s=0.05, restarts=1, size=SIZE, threads=1, sets=sets
    )
    assert found["accuracy"]["measured_here"]
    assert set(found["accuracy"]["sets"]) == {"tiles", "boxed"}
    assert found["accuracy"]["sets"]["tiles"]["n_crack"] == 6
    text = format_bench(found)
    assert "accuracy, measured here: " in text
    assert "boxed recall" in text
    assert list(found["scenarios"]) == ["null", "tile"], "in the order asked for"


def test_unusable_options_are_refused_before_anything_is_measured(model: Model, store: FootageStore) -> None:
    with pytest.raises(OptionError, match="scenario orbit"):
        bench(model, store, scenarios=["orbit"])
    with pytest.raises(OptionError, match="scenario none"):
        bench(model, store, scenarios=[])
    for duration in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(OptionError, match="duration"):
            bench(model, store, duration_s=duration)
    with pytest.raises(OptionError, match="fps 0"):
        bench(model, store, fps=0)
    with pytest.raises(OptionError, match="restarts 0"):
        bench(model, store, restarts=0)
    with pytest.raises(OptionError, match="engine 'quick'"):
        bench(model, store, engine="quick")


@pytest.mark.parametrize(
    ("value", "text"), [(0.00041, "0.0004"), (0.714, "0.71"), (29.74, "29.7"), (165.3, "165"), (1234.0, "1234")]
)
def test_milliseconds_have_as_many_digits_as_mean_something(value: float, text: str) -> None:
    assert milliseconds(value) == text


def test_plans_are_put_side_by_side(model: Model, store: FootageStore, write_model: Any) -> None:
    classifier = open_model(write_model("classifier"))
    plans = plans_of([model, classifier], engines=["dense", "tiles"], threads=[1], sizes=[SIZE])
    assert str(plans[0]) == "tiny, dense, 1 thread, 320x240"
    seen: list[str] = []
    found = sweep(plans, store, scenarios=["frame"], duration_s=0.05, restarts=1, progress=seen.append)
    assert [one["failed"] is None for one in found["plans"]] == [True, True, False, True]
    assert any("plan 4 of 4, classifier, tiles, 1 thread, 320x240" in line for line in seen)
    text = format_sweep(found)
    assert "classifier, dense, 1 thread, 320x240: not measured" in text
    page = sweep_page(found, text=text)
    assert "no card says it" in Tags(page).words, "neither card has an AUC"


def test_when_no_plan_can_be_the_reason_is_raised(store: FootageStore, write_model: Any) -> None:
    classifier = open_model(write_model("classifier"))
    with pytest.raises(OptionError, match="dense"):
        sweep(plans_of([classifier], engines=["dense"]), store, scenarios=["frame"])
