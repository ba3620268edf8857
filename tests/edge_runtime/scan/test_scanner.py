from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackedge.edge_runtime.errors import CrackedgeError, ModelError, OptionError
from crackedge.edge_runtime.models.card import ModelCard
from crackedge.edge_runtime.models.model import open_model
from crackedge.edge_runtime.scan.scanner import Scanner


def wall(height: int, width: int, *dark: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
    """A white image with black boxes of x0, y0, x1, y1."""
    image = np.full((height, width, 3), 255, np.uint8)
    for x0, y0, x1, y1 in dark:
        image[y0:y1, x0:x1] = 0
    return image


@pytest.mark.parametrize("engine", ["tiles", "dense"])
def test_a_dark_patch_is_found_where_it_is(tiny_model: Path, engine: str) -> None:
    image = wall(600, 1000, (416, 192, 672, 448))
    with Scanner(tiny_model, engine=engine) as scanner:
        result = scanner(image)
    assert result.cracked
    (region,) = result.regions
    assert region.bbox == (416, 192, 672, 448)
    assert region.polygon == ((416, 192), (672, 192), (672, 448), (416, 448))
    assert region.score == result.max_score > 0.9
    assert (result.width, result.height) == (1000, 600)
    assert result.score_map.cell_scores.shape == (19, 32)


def test_the_border_cells_of_an_odd_frame_are_found_and_clipped(tiny_model: Path) -> None:
    with Scanner(tiny_model) as scanner:
        (region,) = scanner(wall(500, 610, (400, 300, 610, 500))).regions
    assert region.bbox[2:] == (610, 500)


@pytest.mark.parametrize("engine", ["tiles", "dense"])
@pytest.mark.parametrize("size", [(1, 1), (30, 40), (100, 500), (224, 224)])
def test_small_frames_are_padded(tiny_model: Path, engine: str, size: tuple[int, int]) -> None:
    with Scanner(tiny_model, engine=engine) as scanner:
        (region,) = scanner(np.zeros((*size, 3), np.uint8)).regions
        assert region.bbox == (0, 0, size[1], size[0])
        assert not scanner(wall(*size)).cracked


@settings(max_examples=25)
@given(st.sampled_from(["tiles", "dense"]), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_a_frame_is_cracked_exactly_when_a_window_reaches_the_threshold(
    tiny_model: Path, engine: str, threshold: float, seed: int
) -> None:
    light = np.random.default_rng(seed).integers(0, 256, (9, 11, 1)).astype(np.uint8)
    image = np.kron(light, np.ones((32, 32, 3), np.uint8))
    with Scanner(tiny_model, engine=engine, threshold=threshold, threads=1) as scanner:
        result = scanner(image)
        again = scanner(image)
    assert result.cracked == bool(result.regions) == (np.float32(result.max_score) >= np.float32(threshold))
    assert result.max_score == float(result.score_map.window_scores.max())
    assert again.regions == result.regions


def test_thresholds_come_from_the_card_and_give_way_to_the_option(tiny_model: Path) -> None:
    with Scanner(tiny_model) as scanner:
        assert (scanner.plan.window_threshold, scanner.plan.cell_threshold) == (0.5, 0.5)
    with Scanner(tiny_model, operating_point="high-precision") as scanner:
        assert (scanner.plan.window_threshold, scanner.plan.cell_threshold) == (0.9, 0.8)
    with Scanner(tiny_model, operating_point="high-precision", threshold=0.3) as scanner:
        assert (scanner.plan.window_threshold, scanner.plan.cell_threshold) == (0.3, 0.8)


def test_a_threshold_that_is_set_during_a_scan_holds_from_the_next_frame_on(tiny_model: Path) -> None:
    class Nosy(Scanner):
        def _scan(self, *arguments: Any) -> Any:
            scores = super()._scan(*arguments)
            self.set_threshold(0.99999)  # as another thread may, in the middle of it
            return scores

    image = np.full((256, 320, 3), 235, np.uint8)
    image[32:200, 60:200] = 0
    with Nosy(tiny_model, threshold=0.3, threads=1) as scanner:
        first = scanner(image)
        assert (scanner.threshold, scanner.plan.window_threshold) == (0.99999, 0.3), "the plan is that of the result"
        assert first.cracked
        second = scanner(image)
        assert scanner.plan.window_threshold == 0.99999
    assert first.max_score == second.max_score < 0.99999
    assert not second.cracked


def test_a_threshold_that_was_set_is_in_the_plan_of_the_next_source(tiny_model: Path) -> None:
    with Scanner(tiny_model) as scanner:
        scanner.set_threshold(0.9)
        scanner.forget()
        assert scanner.plan.window_threshold == 0.9


def test_what_a_frame_has_waited_counts_for_its_latency(tiny_model: Path) -> None:
    with Scanner(tiny_model, max_latency_ms=1e4) as scanner:
        results = [scanner(wall(300, 300), time_s=number / 10, waited_ms=1e6) for number in range(3)]
    assert results[-1].coverage is not None
    assert "marking" in results[-1].coverage.gave_up


def test_what_a_frame_has_waited_does_not_count_for_the_rate(tiny_model: Path) -> None:
    with Scanner(tiny_model, target_fps=1e-3) as scanner:
        results = [scanner(wall(300, 300), time_s=number / 10, waited_ms=1e9) for number in range(3)]
    assert [result.coverage for result in results] == [None] * 3


def test_the_card_names_the_default_operating_point(
    write_model: Callable[..., Path], card: Callable[..., ModelCard]
) -> None:
    with Scanner(write_model("logit-map-int8", card=card(default="high-recall"))) as scanner:
        assert scanner.plan.window_threshold == 0.2


def test_the_plan_says_how_it_scans_and_is_plain(tiny_model: Path) -> None:
    with Scanner(tiny_model, threads=2) as scanner:
        plan = dataclasses.asdict(scanner.plan)
    assert plan.pop("runtime").split(" ")[0] in {"ai-edge-litert", "tflite-runtime", "tensorflow"}
    assert json.loads(json.dumps(plan)) == {
        "engine": "dense",
        "stride": 32,
        "scale": 1.0,
        "window_threshold": 0.5,
        "cell_threshold": 0.5,
        "threads": 2,
        "interpreters": 1,
        "batch": 1,
        "delegate": None,
        "area": None,
        "reuse": False,
        "target_fps": None,
        "max_latency_ms": None,
        "refresh_s": None,
    }
    with Scanner(tiny_model, engine="tiles") as scanner:
        assert (scanner.plan.engine, scanner.plan.stride) == ("tiles", 128)
    with Scanner(tiny_model, stride=96) as scanner:
        assert (scanner.plan.engine, scanner.plan.stride) == ("dense", 96)


def test_an_opened_model_may_be_given(write_model: Callable[..., Path]) -> None:
    model = open_model(write_model("classifier", columns=2), crack_index=1)
    with Scanner(model) as scanner:
        assert scanner.model is model
        assert scanner.plan.engine == "tiles"
        assert scanner(np.zeros((300, 300, 3), np.uint8)).cracked


def test_the_time_of_every_stage_is_given(tiny_model: Path) -> None:
    with Scanner(tiny_model) as scanner:
        timing_ms = scanner(wall(300, 300)).timing_ms
    assert list(timing_ms) == ["prepare", "invoke", "regions"]
    assert all(value > 0 for value in timing_ms.values())


def test_a_closed_scanner_says_so(tiny_model: Path) -> None:
    with Scanner(tiny_model) as scanner:
        pass
    scanner.close()
    with pytest.raises(OptionError, match="this scanner is closed"):
        scanner(wall(300, 300))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": "giant"}, ModelError, "giant: no such model file"),
        ({"engine": "fast"}, OptionError, "engine 'fast'"),
        ({"stride": 30}, OptionError, "stride 30 px"),
        ({"threads": -1}, OptionError, "threads -1"),
        ({"threshold": 1.5}, OptionError, "threshold 1.5: expected a probability from 0 to 1"),
        ({"threshold": float("nan")}, OptionError, "threshold nan"),
        ({"operating_point": "eager"}, OptionError, "operating point 'eager': model tiny has balanced"),
    ],
)
def test_options_that_cannot_be_used(
    tiny_model: Path, options: dict[str, Any], error: type[CrackedgeError], message: str
) -> None:
    with pytest.raises(error, match=message):
        Scanner(**{"model": tiny_model, **options})


@pytest.mark.parametrize("times", [{"time_s": float("nan")}, {"waited_ms": float("inf")}])
def test_times_that_are_no_numbers_are_refused(tiny_model: Path, times: dict[str, float]) -> None:
    with (
        Scanner(tiny_model, max_latency_ms=50.0) as scanner,
        pytest.raises(OptionError, match="expected finite numbers"),
    ):
        scanner(wall(300, 300), **times)


@pytest.mark.parametrize("engine", ["tiles", "dense"])
def test_a_stream_may_change_its_size_at_any_frame(tiny_model: Path, engine: str) -> None:
    rng = np.random.default_rng(3)
    with Scanner(tiny_model, engine=engine) as scanner:
        for size in ((300, 500), (1, 700), (700, 1), (301, 499), (225, 1000), (300, 500)):
            image = rng.integers(0, 256, (*size, 3), np.uint8)
            with Scanner(tiny_model, engine=engine) as fresh:
                expected = fresh(image)
            found = scanner(image)
            assert found.regions == expected.regions
            assert np.array_equal(found.score_map.cell_logits, expected.score_map.cell_logits)
            assert (found.height, found.width) == size


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((300, 300, 3), np.uint16), "type uint16; expected uint8, values 0 to 255"),
        (np.zeros((300, 300), np.uint16), "type uint16 is grey"),
        (np.zeros((300, 300, 4), np.uint8), "has four channels"),
        (np.zeros((300, 0, 3), np.uint8), "is empty"),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_images_of_other_kinds_are_refused_at_any_scale(
    tiny_model: Path, image: npt.NDArray[Any], message: str, scale: float
) -> None:
    with Scanner(tiny_model, scale=scale) as scanner, pytest.raises(OptionError, match=message):
        scanner(image)


def test_what_is_no_image_is_refused(tiny_model: Path) -> None:
    with Scanner(tiny_model) as scanner, pytest.raises(OptionError, match="is grey"):
        scanner(np.zeros((300, 300), np.uint8))
