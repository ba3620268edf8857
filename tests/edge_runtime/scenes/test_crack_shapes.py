from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.scenes.crack_shapes import (
    STYLES,
    CrackLine,
    coverage,
    crack_across,
    crack_mask,
    darken,
    draw_crack,
    grow_crack,
)

SIZE = (120, 140)


def straight(width_px: float, angle: float, *, x: float = 70.0, y: float = 60.0, length: float = 80.0) -> CrackLine:
    t = np.linspace(-0.5, 0.5, int(length / 2) + 1)[:, None] * length
    path = np.array([x, y]) + t * np.array([np.cos(angle), np.sin(angle)])
    return CrackLine(path, np.full(len(path), width_px))


@settings(max_examples=40, deadline=None)
@given(width_px=st.floats(1, 8), angle=st.floats(0, np.pi), x=st.floats(60, 80), y=st.floats(50, 70))
def test_coverage_is_length_times_width_wherever_the_line_lies(
    width_px: float, angle: float, x: float, y: float
) -> None:
    line = straight(width_px, angle, x=x, y=y)
    covered = coverage([line], SIZE)
    assert covered.min() >= 0
    assert covered.max() <= 1
    assert covered.sum() / 80 == pytest.approx(width_px, abs=0.3)  # counted in quarters of a pixel
    rows, columns = np.nonzero(covered)
    aside = (columns - x) * -np.sin(angle) + (rows - y) * np.cos(angle)
    assert np.average(aside, weights=covered[rows, columns]) == pytest.approx(0, abs=0.3)


@settings(max_examples=40, deadline=None)
@given(width_px=st.floats(3, 8), angle=st.floats(0, np.pi))
def test_mask_is_as_wide_as_the_crack(width_px: float, angle: float) -> None:
    mask = crack_mask([straight(width_px, angle)], SIZE)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    # A border that runs exactly through pixel centres takes both of its rows: one pixel more.
    assert 2 * inside.max() - 1 == pytest.approx(width_px, abs=1.3)
    assert np.count_nonzero(mask) / 80 == pytest.approx(width_px, abs=1.3)


@settings(max_examples=40, deadline=None)
@given(width_px=st.floats(0.5, 2), angle=st.floats(0, np.pi), x=st.floats(60, 80))
def test_a_hair_crack_is_one_piece_on_the_mask(width_px: float, angle: float, x: float) -> None:
    mask = crack_mask([straight(width_px, angle, x=x)], SIZE)
    assert cv2.connectedComponents(mask, connectivity=8)[0] == 2  # background and crack


def test_gaps_are_not_crack() -> None:
    line = straight(4, 0)
    widths = line.widths.copy()
    widths[15:25] = 0
    mask = crack_mask([CrackLine(line.path, widths)], SIZE)
    assert not mask[:, 62:76].any()
    assert mask[60, 35:55].all()
    assert cv2.connectedComponents(mask)[0] == 3


def test_lines_outside_cover_nothing() -> None:
    assert not coverage([straight(4, 0, y=-50)], SIZE).any()
    assert not crack_mask([straight(4, 0, x=1000)], SIZE).any()


def test_long_cracks_show_no_seams_between_their_parts() -> None:
    line = straight(3, 0.01, x=600, y=20, length=1100)
    covered = coverage([line], (60, 1200))
    columns = covered.sum(0)[60:1140]
    assert columns.min() > 2.5
    assert columns.max() < 3.5


@pytest.mark.parametrize("style", STYLES)
def test_a_grown_crack_keeps_its_heading_length_and_width(style: str) -> None:
    rng = np.random.default_rng(7)
    for heading in (0.0, np.pi / 2, 3.0):
        crack = grow_crack(
            rng, start=(50, 50), heading=heading, length_px=400, width_px=4, style=style, branches=2, gaps=0
        )
        assert len(crack.lines) == 3
        # Broken edges make the path of a wide crack somewhat longer than the way it was grown along.
        assert crack.trunk.length_px == pytest.approx(400, rel=0.12)
        assert np.median(crack.trunk.widths) == pytest.approx(4, rel=0.35)
        assert (crack.trunk.widths > 0).all()
        way = crack.trunk.path[-1] - crack.trunk.path[0]
        if style != "stepped":
            assert np.cos(heading) * way[0] + np.sin(heading) * way[1] > 120
        for branch in crack.lines[1:]:
            stems = np.concatenate([line.path for line in crack.lines if line is not branch])
            assert np.hypot(*(stems - branch.path[0]).T).min() < 3
            assert np.median(branch.widths) < 4.4


def test_gaps_close_part_of_a_crack() -> None:
    crack = grow_crack(
        np.random.default_rng(1), start=(0, 0), heading=0, length_px=800, width_px=3, branches=0, gaps=1.5
    )
    assert 0.02 < np.mean(crack.trunk.widths == 0) < 0.4


def test_darken_takes_the_contrast_where_covered_and_nothing_elsewhere() -> None:
    image = np.full((*SIZE, 3), 200, np.uint8)
    covered = coverage([straight(6, 0.3)], SIZE)
    darken(image, covered, 0.25)
    assert (image[covered == 1] == 150).all()
    assert (image[covered == 0] == 200).all()


@pytest.mark.parametrize("seed", range(8))
def test_draw_crack_darkens_its_mask_by_at_most_the_contrast(seed: int) -> None:
    image = np.full((200, 200, 3), 180, np.uint8)
    mask = draw_crack(image, np.random.default_rng(seed), width_px=3, contrast=0.3, softness=0)
    assert mask.shape == (200, 200)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 255}
    loss = 1 - image[..., 0] / 180
    assert loss.max() <= 0.3 + 0.01
    assert loss[mask > 0].mean() > 0.3 * 0.5
    far = cv2.dilate(mask, np.ones((5, 5), np.uint8)) == 0
    assert (image[far] == 180).all()


def test_draw_crack_is_all_by_the_seed() -> None:
    pictures = []
    for seed in (3, 3, 4):
        image = np.full((100, 100, 3), 180, np.uint8)
        mask = draw_crack(image, np.random.default_rng(seed))
        assert np.count_nonzero(mask) >= 30
        pictures.append((image.tobytes(), mask.tobytes()))
    assert pictures[0] == pictures[1] != pictures[2]


def test_crack_across_passes_through_the_picture() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        crack = crack_across(rng, (300, 300), width_px=2)
        assert ((crack.trunk.path > 0) & (crack.trunk.path < 300)).all(1).any()


def test_wrong_options_are_named() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(OptionError, match=r"style 'curly'.*wandering"):
        grow_crack(rng, start=(0, 0), heading=0, length_px=9, width_px=1, style="curly")
    with pytest.raises(OptionError, match="positive"):
        grow_crack(rng, start=(0, 0), heading=0, length_px=9, width_px=0)
