from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.errors import ModelError, OptionError
from crackedge.edge_runtime.frame import check_image
from crackedge.edge_runtime.models.card import Calibration, ModelCard
from crackedge.edge_runtime.models.interpreter import Interpreter
from crackedge.edge_runtime.models.model import Model, open_model
from crackedge.edge_runtime.scan.dense_engine import DenseEngine
from crackedge.edge_runtime.scan.engine import engine_name, make_engine
from crackedge.edge_runtime.scan.scoremap import probabilities
from crackedge.edge_runtime.scan.tiles_engine import TilesEngine

WriteModel = Callable[..., Path]


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Model:
    return open_model(tiny_model)


@pytest.fixture(scope="module")
def context(context_model: Path) -> Model:
    return open_model(context_model)


def noise(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Cells of random lightness with grain on them."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(30, 226, (-(-height // 32), -(-width // 32), 1))
    light = np.kron(cells, np.ones((32, 32, 3), int))[:height, :width]
    return (light + rng.integers(-30, 30, light.shape)).astype(np.uint8)


def darkness(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The logits that the tiny networks give the cells of a padded image."""
    rows, cols = image.shape[0] // 32, image.shape[1] // 32
    means: npt.NDArray[np.float64] = image.reshape(rows, 32, cols, 32, 3).mean(axis=(1, 3, 4))
    return 6 - 12 / 255 * means


@settings(max_examples=25)
@given(st.integers(1, 400), st.integers(1, 500), st.integers(0, 100))
def test_dense_gives_each_cell_its_logit_at_any_size(tiny: Model, height: int, width: int, seed: int) -> None:
    image = noise(height, width, seed)
    scores = DenseEngine(tiny, threads=1)(image)
    assert np.abs(scores.cell_logits - darkness(lattice.pad(image))).max() < 0.15  # 2 steps of its int8


def test_an_int16_input_without_a_scale_is_refused(write_model: WriteModel, card: Callable[..., ModelCard]) -> None:
    told = card(input_dtype="int16", quantization="int16x8")
    model = open_model(write_model("logit-map-int16", card=told, scaled=False))
    with pytest.raises(ModelError, match="an int16 input without a scale; export the model again"):
        DenseEngine(model, threads=1)


@pytest.mark.parametrize("size", [(224, 224), (300, 410), (100, 90)])
def test_an_int16_input_gets_its_pixels_by_its_own_scale(
    write_model: WriteModel, card: Callable[..., ModelCard], size: tuple[int, int]
) -> None:
    model = open_model(write_model("logit-map-int16", card=card(input_dtype="int16", quantization="int16x8")))
    image = noise(*size)
    expected = darkness(lattice.pad(image))
    for scan in (DenseEngine(model, threads=1), TilesEngine(model, threads=1, stride=32)):
        assert np.abs(scan(image).cell_logits - expected).max() < 1e-3


@settings(max_examples=20)
@given(st.sampled_from(["dense", "tiles"]), st.integers(1, 7), st.integers(1, 400), st.integers(1, 500))
def test_windows_cover_the_frame_and_stay_on_the_lattice(
    tiny: Model, engine: str, step: int, height: int, width: int
) -> None:
    scores = make_engine(tiny, engine=engine, stride=32 * step, threads=1)(noise(height, width))
    assert scores.window_scores.shape == scores.window_logits.shape == (len(scores.ys), len(scores.xs))
    for starts, edge, padded in zip(
        (scores.ys, scores.xs), (height, width), lattice.padded_hw(height, width), strict=True
    ):
        covered = np.zeros(padded, bool)
        for start in starts:
            assert start % 32 == 0
            assert 0 <= start <= padded - 224
            covered[start : start + 224] = True
        assert covered[:edge].all()
    assert scores.cell_scores.shape == scores.cell_logits.shape


@pytest.mark.parametrize("stride", [32, 96, 128, 224])
def test_the_engines_agree_on_a_network_whose_cells_see_only_themselves(tiny: Model, stride: int) -> None:
    image = noise(400, 530)
    tiles = TilesEngine(tiny, threads=1, stride=stride)(image)
    dense = DenseEngine(tiny, threads=1, stride=stride)(image)
    for name in ("xs", "ys", "cell_logits", "window_logits", "cell_scores", "window_scores"):
        np.testing.assert_allclose(getattr(tiles, name), getattr(dense, name), atol=1e-5)


def test_the_engines_correlate_on_a_network_with_context(context: Model) -> None:
    image = noise(700, 900)
    tiles = TilesEngine(context, threads=1, stride=64)(image).window_logits
    dense = DenseEngine(context, threads=1, stride=64)(image).window_logits
    assert tiles.shape == dense.shape
    assert np.corrcoef(tiles.ravel(), dense.ravel())[0, 1] > 0.95
    assert np.abs(tiles - dense).max() > 1e-3  # it sees zeros beyond a tile's border, and the frame beyond a window's


def test_a_window_is_the_mean_of_its_cells(context: Model) -> None:
    scores = DenseEngine(context, threads=1, stride=64)(noise(500, 600))
    for i, y in enumerate(scores.ys // 32):
        for j, x in enumerate(scores.xs // 32):
            assert scores.window_logits[i, j] == pytest.approx(
                scores.cell_logits[y : y + 7, x : x + 7].mean(), abs=1e-5
            )


def test_the_mean_of_a_logit_map_is_the_logit_of_a_pooled_head(twins: tuple[bytes, bytes]) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, 224, 224, 3), np.uint8)
    outputs = []
    for flatbuffer in twins:
        network = Interpreter(flatbuffer, threads=1, origin="twin")
        network.resize(5, 224, 224)
        network.input()[:] = images
        outputs.append(network.invoke())
    assert outputs[0].shape == (5, 7, 7, 1)
    assert outputs[1].shape == (5, 1)
    assert np.ptp(outputs[1]) > 1e-3
    np.testing.assert_allclose(outputs[0].mean(axis=(1, 2)), outputs[1], atol=2e-5)


def test_a_cell_of_overlapping_tiles_has_the_mean_of_what_they_say(write_model: WriteModel) -> None:
    model = open_model(write_model("classifier"))
    image = np.full((224, 352, 3), 255, np.uint8)
    image[:, :128] = 0  # windows at 0 and 128 px: the first is dark in 4 columns of cells of 7
    scores = TilesEngine(model, threads=1)(image)
    first, second = 6 - 12 * 3 / 7, -6.0
    assert scores.window_logits[0] == pytest.approx([first, second], abs=1e-3)
    expected = [first] * 4 + [(first + second) / 2] * 3 + [second] * 4
    assert scores.cell_logits == pytest.approx(np.tile(expected, (7, 1)), abs=1e-3)


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ({}, {}),
        ({"dtype": "int8"}, {}),
        ({"crack_index": 0}, {"crack_index": 0}),
        ({"columns": 2}, {"crack_index": 1}),
        ({"columns": 2, "crack_index": 0}, {"crack_index": 0}),
        ({"dtype": "float32", "white": 1.0}, {"input_range": "0..1"}),
        ({"dtype": "float32", "white": 1.0, "black": -1.0}, {"input_range": "-1..1"}),
        ({"dtype": "float32", "columns": 2}, {"input_range": "0..255", "crack_index": 1}),
        ({"baked_batch": True}, {}),
    ],
    ids=str,
)
def test_plain_classifiers_of_every_signature(
    write_model: WriteModel, network: dict[str, Any], options: dict[str, Any]
) -> None:
    model = open_model(write_model("classifier", **network), **options)
    image = noise(400, 600)
    scores = make_engine(model, threads=1)(image)
    expected = lattice.window_means(darkness(lattice.pad(image)))[np.ix_(scores.ys // 32, scores.xs // 32)]
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(scores.window_logits, expected, atol=0.15)


def test_certain_probabilities_have_finite_logits(write_model: WriteModel) -> None:
    model = open_model(write_model("classifier", white=60.0, black=0.0))  # anything light is -46 or below
    scores = TilesEngine(model, threads=1)(np.full((224, 224, 3), 255, np.uint8))
    assert scores.window_logits == pytest.approx(np.log(1e-6), rel=1e-3)


@pytest.mark.parametrize("columns", [1, 2])
def test_a_classifier_that_gives_logits_is_refused(write_model: WriteModel, columns: int) -> None:
    model = open_model(write_model("classifier", columns=columns, logits=True), crack_index=1)
    with pytest.raises(ModelError, match=r"is no probability; export the classifier with its sigmoid or softmax"):
        TilesEngine(model, threads=1)(np.zeros((224, 224, 3), np.uint8))


@pytest.mark.parametrize("batch", [1, 3, 8, 100])
def test_the_batch_does_not_change_the_result(tiny: Model, batch: int) -> None:
    image = noise(480, 640)
    expected = TilesEngine(tiny, threads=1)(image)
    found = TilesEngine(tiny, threads=1, batch=batch)(image)
    assert np.array_equal(found.cell_logits, expected.cell_logits)


@pytest.mark.parametrize("engine", ["dense", "tiles"])
def test_one_engine_scans_frames_of_changing_size(tiny: Model, engine: str) -> None:
    scan = make_engine(tiny, engine=engine, threads=1)
    for height, width in ((300, 500), (100, 100), (500, 300), (300, 500)):
        image = noise(height, width, seed=height)
        fresh = make_engine(tiny, engine=engine, threads=1)(image)
        assert np.array_equal(scan(image).cell_logits, fresh.cell_logits)


@pytest.mark.parametrize("engine", ["dense", "tiles"])
def test_views_and_read_only_images_are_scanned_and_left_alone(tiny: Model, engine: str) -> None:
    scan = make_engine(tiny, engine=engine, threads=1)
    image = noise(300, 400)
    expected = scan(np.ascontiguousarray(image[::-1, ::-1, ::-1])).cell_logits
    image.flags.writeable = False
    assert np.array_equal(scan(image[::-1, ::-1, ::-1]).cell_logits, expected)
    assert np.array_equal(image, noise(300, 400))


def test_each_engine_has_its_own_calibration(tiny: Model) -> None:
    calibration = {"dense": Calibration(2.0, 1.0, 0.5, -1.0), "tiles": Calibration(0.5, -2.0, 3.0, 0.25)}
    model = dataclasses.replace(tiny, card=dataclasses.replace(tiny.card, calibration=calibration))
    for engine, figures in calibration.items():
        scores = make_engine(model, engine=engine, threads=1)(noise(300, 400))
        expected = 1 / (1 + np.exp(-(figures.scale * scores.window_logits + figures.bias)))
        np.testing.assert_allclose(scores.window_scores, expected, atol=1e-6)
        expected = 1 / (1 + np.exp(-(figures.cell_scale * scores.cell_logits + figures.cell_bias)))
        np.testing.assert_allclose(scores.cell_scores, expected, atol=1e-6)


def test_probabilities_of_extreme_logits() -> None:
    values = probabilities(np.array([-1e30, -50, 0, 50, 1e30], np.float32), scale=1.0, bias=0.0)
    assert values.dtype == np.float32
    assert values == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-12)


def test_auto_goes_by_the_card(tiny: Model, write_model: WriteModel, card: Callable[..., ModelCard]) -> None:
    assert engine_name(tiny) == "dense"
    assert engine_name(tiny, "tiles") == "tiles"
    classifier = open_model(write_model("classifier"))
    assert engine_name(classifier) == "tiles"
    with_card = open_model(write_model("classifier", card=card(head="probability")))
    assert engine_name(with_card) == "tiles"
    for model in (classifier, with_card):
        with pytest.raises(OptionError, match=r"'dense' needs a logit map, and .* is a classifier"):
            make_engine(model, engine="dense")


def test_the_timing_of_the_last_call_is_kept(tiny: Model) -> None:
    for engine in ("tiles", "dense"):
        scan = make_engine(tiny, engine=engine)
        scan(noise(300, 300))
        assert set(scan.timing_ms) == {"prepare", "invoke"}
        assert all(value > 0 for value in scan.timing_ms.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "fast"}, "engine 'fast': expected one of auto, tiles, dense"),
        ({"stride": 0}, "stride 0 px: expected a multiple of 32"),
        ({"stride": 100}, "stride 100 px"),
        ({"engine": "tiles", "stride": 256}, "stride 256 px"),
        ({"threads": 0}, "threads 0: expected at least 1"),
    ],
)
def test_options_that_cannot_be_used(tiny: Model, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make_engine(tiny, **options)


def test_a_batch_of_nothing_is_refused(tiny: Model) -> None:
    with pytest.raises(OptionError, match="batch 0"):
        TilesEngine(tiny, batch=0)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "image of type NoneType; expected a numpy array"),
        ([[0]], "image of type list"),
        (np.zeros((5, 6), np.uint8), r"shape \(5, 6\) and type uint8 is grey.*COLOR_GRAY2RGB"),
        (np.zeros((5, 6, 1), np.uint8), r"shape \(5, 6, 1\) .* is grey"),
        (np.zeros((5, 6, 4), np.uint8), r"shape \(5, 6, 4\) .* has four channels"),
        (np.zeros((3, 5, 6), np.uint8), r"shape \(3, 5, 6\) .*expected \(H, W, 3\) uint8 RGB"),
        (np.zeros((1, 5, 6, 3), np.uint8), r"shape \(1, 5, 6, 3\) .*one picture"),
        (np.zeros((5, 6, 3), np.float32), "type float32; expected uint8, values 0 to 255"),
        (np.zeros((0, 6, 3), np.uint8), r"shape \(0, 6, 3\) .* is empty"),
    ],
)
def test_what_is_no_image_is_refused_by_name(image: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        check_image(image)


@pytest.mark.parametrize("engine", ["dense", "tiles"])
def test_an_engine_checks_its_image(tiny: Model, engine: str) -> None:
    with pytest.raises(OptionError, match="is grey"):
        make_engine(tiny, engine=engine)(np.zeros((300, 300), np.uint8))
