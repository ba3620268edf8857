from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.errors import ModelError, OptionError
from crackedge.edge_runtime.models.card import Calibration, ModelCard, from_json, to_json
from crackedge.edge_runtime.scan.resample import check_scales, fused, on_source, resampled, scale_for
from crackedge.edge_runtime.scan.scanner import Scanner
from crackedge.edge_runtime.scan.scoremap import ScoreMap, score_map

sizes = st.tuples(st.integers(1, 900), st.integers(1, 900))


def map_of(size_hw: tuple[int, int], seed: int = 0) -> ScoreMap:
    """Random logits on the lattice of a frame of this size, every window at stride 32."""
    cells = np.random.default_rng(seed).normal(0, 3, lattice.cells_hw(*size_hw)).astype(np.float32)
    rows, cols = (lattice.window_starts(n, 1) for n in cells.shape)
    means = lattice.window_means(cells)
    return score_map(cells, means, row_starts=rows, col_starts=cols, calibration=Calibration(2.0, -1.0, 0.5, 0.25))


@settings(max_examples=80)
@given(sizes, st.floats(0.3, 3), st.integers(1, 7))
def test_on_the_source_every_score_is_one_that_was_scanned_close_by(
    source_hw: tuple[int, int], scale: float, step: int
) -> None:
    height, width = (max(1, round(edge * scale)) for edge in source_hw)
    scanned = map_of((height, width))
    found = on_source(scanned, scanned_hw=(height, width), source_hw=source_hw, step=step)
    assert found.cell_logits.shape == lattice.cells_hw(*source_hw)
    assert found.window_logits.shape == (len(found.ys), len(found.xs))
    for starts, cells in zip((found.ys, found.xs), lattice.cells_hw(*source_hw), strict=True):
        assert np.array_equal(starts, lattice.window_starts(cells, step) * 32)
    # The best of the frame is kept, at most one cell of either lattice from where it was.
    visible = scanned.cell_logits[: -(-height // 32), : -(-width // 32)]
    assert found.cell_logits.max() == visible.max()
    row, col = np.unravel_index(visible.argmax(), visible.shape)
    rows, cols = np.nonzero(found.cell_logits == visible.max())
    for place, scanned_place, cells, ratio in (
        (rows, row, found.cell_logits.shape[0], source_hw[0] / height),
        (cols, col, found.cell_logits.shape[1], source_hw[1] / width),
    ):
        there = min((scanned_place + 0.5) * 32 * ratio, cells * 32)
        assert np.abs((place + 0.5) * 32 - there).min() <= 16 * max(1, ratio) + 16
    assert found.window_logits.max() == scanned.window_logits.max()
    assert found.max_score == scanned.max_score


@given(sizes)
def test_at_its_own_scale_a_map_stays_as_it_is(source_hw: tuple[int, int]) -> None:
    scanned = map_of(source_hw)
    found = on_source(scanned, scanned_hw=source_hw, source_hw=source_hw, step=1)
    height, width = (-(-edge // 32) for edge in source_hw)
    assert np.array_equal(found.cell_logits[:height, :width], scanned.cell_logits[:height, :width])
    for name in ("window_logits", "window_scores", "xs", "ys"):
        assert np.array_equal(getattr(found, name), getattr(scanned, name))


def test_enlarged_cells_fall_into_one_cell_and_reduced_ones_into_several() -> None:
    twice = map_of((448, 448))
    found = on_source(twice, scanned_hw=(448, 448), source_hw=(224, 224), step=1)
    assert np.array_equal(found.cell_logits, twice.cell_logits.reshape(7, 2, 7, 2).max((1, 3)))
    half = map_of((224, 224))
    found = on_source(half, scanned_hw=(224, 224), source_hw=(448, 448), step=1)
    assert np.array_equal(found.cell_logits, half.cell_logits.repeat(2, 0).repeat(2, 1))


def test_several_maps_are_fused_by_the_highest() -> None:
    maps = [map_of((300, 400), seed) for seed in range(3)]
    found = fused(maps)
    for name in ("cell_logits", "cell_scores", "window_logits", "window_scores"):
        assert np.array_equal(getattr(found, name), np.max([getattr(one, name) for one in maps], axis=0))
    assert fused(maps[:1]) is maps[0]


@given(sizes, st.floats(0.1, 3))
def test_a_frame_keeps_at_least_a_pixel(size_hw: tuple[int, int], scale: float) -> None:
    image = np.full((*size_hw, 3), 7, np.uint8)
    found = resampled(image, scale)
    assert found.shape == (max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale)), 3)
    assert (found == 7).all()


def test_room_is_used_again_and_never_that_of_the_frame() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    room = resampled(image, 1.5)
    expected = room.copy()
    assert resampled(image, 1.5, np.zeros_like(room)).tobytes() == expected.tobytes()
    assert np.shares_memory(resampled(image, 1.5, room), room)
    assert resampled(image, 1.0, room) is image
    assert np.array_equal(
        resampled(image[::-1, ::-1], 0.5),
        cv2.resize(image[::-1, ::-1].copy(), (150, 100), interpolation=cv2.INTER_AREA),
    )


def wall(height: int, width: int, dark: tuple[int, int, int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image = np.full((height, width, 3), 255, np.uint8)
    image[dark[1] : dark[3], dark[0] : dark[2]] = 0
    return image


@pytest.mark.parametrize("engine", ["tiles", "dense"])
@pytest.mark.parametrize("scale", [0.5, 2.0, 1.5, (1.0, 1.5), (0.5, 1.0, 2.0)])
def test_regions_are_those_of_the_source(tiny_model: Path, engine: str, scale: float | Sequence[float]) -> None:
    with Scanner(tiny_model, engine=engine, scale=scale, stride=32) as scanner:
        result = scanner(wall(601, 1003, (256, 64, 768, 544)))
        plan = scanner.plan
    (region,) = result.regions
    slack = 32 if plan.scale in (2.0, 1.5, (1.0, 1.5)) else 64
    assert np.abs(np.subtract(region.bbox, (256, 64, 768, 544))).max() <= slack
    assert (result.width, result.height) == (1003, 601)
    assert result.score_map.cell_scores.shape == (19, 32)
    assert plan.scale == scale
    assert plan.stride == 32
    assert result.max_score == region.score == float(result.score_map.window_scores.max())


def test_at_the_edge_regions_are_clipped_to_the_source(tiny_model: Path) -> None:
    with Scanner(tiny_model, scale=1.37) as scanner:
        (region,) = scanner(wall(500, 610, (400, 300, 610, 500))).regions
        (whole,) = scanner(np.zeros((30, 41, 3), np.uint8)).regions
    assert region.bbox[2:] == (610, 500)
    assert whole.bbox == (0, 0, 41, 30)


def test_frames_of_changing_size_are_resampled_anew(tiny_model: Path) -> None:
    with Scanner(tiny_model, scale=1.5) as scanner:
        for size in ((300, 400), (200, 500), (300, 400)):
            image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
            with Scanner(tiny_model, scale=1.5) as fresh:
                expected = fresh(image).score_map.cell_logits
            assert np.array_equal(scanner(image).score_map.cell_logits, expected)


def test_the_ground_sample_distance_goes_by_the_card(card: Callable[..., ModelCard]) -> None:
    known = card(gsd_mm=(0.2, 0.5))
    assert [scale_for(gsd, known) for gsd in (0.2, 0.3, 0.5)] == [1, 1, 1]
    assert scale_for(0.1, known) == pytest.approx(0.5)
    assert scale_for(1.0, known) == pytest.approx(2)
    with pytest.raises(
        OptionError, match=r"model tiny was trained at 0\.2 to 0\.5 mm per pixel, which asks for scale 20"
    ):
        scale_for(10, known)


def test_a_scanner_takes_the_distance_in_place_of_a_scale(
    write_model: Callable[..., Path], card: Callable[..., ModelCard]
) -> None:
    path = write_model("logit-map-int8", card=card(gsd_mm=(0.2, 0.5)))
    with Scanner(path, gsd_mm=1.0) as scanner:
        assert scanner.plan.scale == pytest.approx(2)
    with pytest.raises(OptionError, match=r"scale 2 and ground sample distance 1 mm: give one of them"):
        Scanner(path, gsd_mm=1.0, scale=2)


def test_a_card_without_a_distance_is_refused_by_name(tiny_model: Path) -> None:
    with pytest.raises(OptionError, match=r"the card of model tiny does not say at what distance it was trained"):
        Scanner(tiny_model, gsd_mm=0.3)


@pytest.mark.parametrize("gsd_mm", [0, -1, math.inf, math.nan])
def test_distances_that_are_none_are_refused(card: Callable[..., ModelCard], gsd_mm: float) -> None:
    with pytest.raises(OptionError, match="expected millimetres per pixel, more than 0"):
        scale_for(gsd_mm, card(gsd_mm=(0.2, 0.5)))


def test_a_card_keeps_its_distance(card: Callable[..., ModelCard]) -> None:
    assert from_json(to_json(card(gsd_mm=(0.2, 0.5))), origin="card").gsd_mm == (0.2, 0.5)
    for broken in ((0.5, 0.2), (0, 1), ("a", "b"), (1,)):
        with pytest.raises(ModelError, match="its model card is malformed"):
            from_json(to_json(card(gsd_mm=broken)), origin="card")


def test_scales_are_put_in_order() -> None:
    assert check_scales(2) == (2.0,)
    assert check_scales([1.5, 1, 1.5]) == (1.0, 1.5)


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (0, "scale 0: expected 0.1 to 8"),
        (9.0, "scale 9: expected"),
        (math.nan, "scale nan"),
        ([], "0 scales: expected 1 to 4"),
        ([1, 2, 3, 4, 5], "5 scales"),
    ],
)
def test_scales_that_cannot_be_used(scale: float | Sequence[float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        check_scales(scale)
