from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crackedge.benchmarks.advice import (
    BOARDS,
    Published,
    advise,
    estimate_ms,
    estimate_plans,
    format_advice,
    format_estimates,
    frame_gmacs,
    read_board,
)
from crackedge.benchmarks.sweep import Plan
from crackedge.edge_runtime.errors import DataError, OptionError
from crackedge.edge_runtime.models.model import open_model


def streamed(name: str, *, p50: float, bound: float | None, auc: float = 0.9) -> dict[str, Any]:
    return {
        "name": name,
        "failed": None,
        "plan": {},
        "accuracy": {"sets": {"site": {"auc": auc, "n_crack": 30, "n_no_crack": 30}}},
        "scenarios": {
            "stream": {
                "p90_bound": {"bound": bound},
                "ms": {"p50": {"value": p50}},
                "dropped": 1,
                "captured": 80,
            }
        },
    }


def test_plans_are_judged_by_the_time_between_two_frames() -> None:
    plans = [
        streamed("slow", p50=150, bound=180),
        streamed("quick", p50=20, bound=25, auc=0.90),
        streamed("good", p50=60, bound=80, auc=0.97),
        streamed("tight", p50=95, bound=104),
        streamed("short", p50=50, bound=None),
        streamed("hopeless", p50=500, bound=None),
        {"failed": "too large"},
    ]
    advice = advise(plans, target_fps=10)
    assert {one["name"]: one["verdict"] for one in advice} == {
        "slow": "no",
        "quick": "keeps",
        "good": "keeps",
        "tight": "hardly",
        "short": "unknown",
        "hopeless": "no",
    }
    assert advice[1]["margin"] == pytest.approx(4.0)
    text = format_advice(advice, target_fps=10)
    assert [line.split()[0] for line in text.splitlines()[1:4]] == ["keeps", "keeps", "hardly"]
    assert "best of those that keep it: good" in text
    assert "no plan keeps it" in format_advice(advice[:1], target_fps=10)


def test_an_estimate_is_a_range_from_published_figures() -> None:
    published = [Published("a", 0.3, 30, 4, "x"), Published("b", 4.0, 40, 4, "y")]
    assert estimate_ms(2.0, published) == pytest.approx((20, 200))
    assert estimate_ms(2.0, published[:1]) == pytest.approx((100, 400)), "one figure alone: half to twice"


def test_the_multiplications_of_a_frame(tiny_model: Path, write_model: Callable[..., Path]) -> None:
    model = open_model(tiny_model)
    tile = frame_gmacs(Plan(model, "dense"), default_size=(224, 224))
    assert tile == pytest.approx(3 * 49 / 1e9)  # a 1x1 convolution over 7x7 cells of three colours
    assert frame_gmacs(Plan(model, "dense"), default_size=(448, 448)) == pytest.approx(4 * tile)
    assert frame_gmacs(Plan(model, "tiles", stride=224, size=(448, 224)), default_size=(9, 9)) == pytest.approx(
        2 * tile
    )
    assert frame_gmacs(Plan(model, "tiles", stride=32), default_size=(448, 224)) == pytest.approx(8 * tile)


def test_another_board_is_only_estimated_and_says_so(tiny_model: Path) -> None:
    plans = [Plan(open_model(tiny_model), "dense")]
    published = [Published("a", 1.0, 1e8, 4, "here"), Published("b", 1.0, 9e8, 4, "there")]
    verdicts = []
    for fps in (0.1, 1.0, 1000.0):
        found = estimate_plans(plans, published, target_fps=fps, default_size=(1920, 1080))
        assert found[0]["estimated"]
        verdicts.append(found[0]["verdict"])
        text = format_estimates(found, published, board="a board", target_fps=fps)
        assert text.startswith("ESTIMATE, not measured")
        assert "here; there" in text
    assert verdicts == ["likely", "perhaps", "unlikely"]


def test_the_shipped_boards_have_sources() -> None:
    for name in json.loads(BOARDS.read_text())["boards"]:
        assert all(one.source and one.threads for one in read_board(name))


def test_figures_of_ones_own_are_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    one = {"network": "m", "gmacs": 1.0, "ms": 5.0, "threads": 2, "source": "my desk"}
    file.write_text(json.dumps({"boards": {"mine": [one]}}))
    assert read_board(str(file)) == [Published("m", 1.0, 5.0, 2, "my desk")]


@pytest.mark.parametrize(
    "text", ["", "{}", '{"boards": {"a": [{"ms": 1}]}}', '{"boards": {"a": 3}}', '{"boards": []}', "[1]"]
)
def test_a_damaged_board_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.json"
    file.write_text(text)
    with pytest.raises(DataError, match=r"mine\.json: no figures of a board"):
        read_board(str(file))


def test_a_board_of_no_time_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    one = {"network": "m", "gmacs": 1.0, "ms": 0, "threads": 2, "source": "my desk"}
    file.write_text(json.dumps({"boards": {"mine": [one]}}))
    with pytest.raises(DataError, match="more than 0"):
        read_board(str(file))


def test_an_unknown_board_names_the_known_ones() -> None:
    with pytest.raises(OptionError, match="expected one of raspberry-pi-5"):
        read_board("abacus")
    with pytest.raises(DataError, match=r"absent\.json: no figures"):
        read_board("absent.json")
