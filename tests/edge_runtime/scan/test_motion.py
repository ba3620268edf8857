from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.scan.motion import CONFIDENT, Matrix, Motion, changes, corners, find_motion, view_of
from crackedge.edge_runtime.scenes.surfaces import render_surface

HEIGHT, WIDTH = 360, 640


@pytest.fixture(scope="module")
def wall() -> Image:
    """Larger than a frame, so that frames are cut from it without a border."""
    surface = render_surface("concrete", (800, 1100), np.random.default_rng(4))
    return np.asarray(cv2.GaussianBlur(surface, (0, 0), 1.0), np.uint8)  # as lenses do: resampling blurs no further


def moved(x: float, y: float, turn: float, zoom: float) -> Matrix:
    """By x and y pixels, turned and zoomed about the middle of the frame."""
    matrix: Matrix = np.asarray(cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), np.degrees(turn), zoom), np.float64)
    matrix[:, 2] += np.array([x, y])
    return matrix


def seen(wall: Image, x: float = 0.0, y: float = 0.0, turn: float = 0.0, zoom: float = 1.0) -> Image:
    """What a camera sees from somewhere: the wall, moved by x and y pixels, turned and zoomed about the middle."""
    matrix = moved(x, y, turn, zoom)
    matrix[:, 2] -= matrix[:, :2] @ (200.0, 200.0)
    return np.asarray(cv2.warpAffine(wall, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR), np.uint8)


def motion(earlier: Image, later: Image) -> Motion:
    view = view_of(earlier)
    return find_motion(view, view_of(later), corners(view))


@settings(max_examples=20)
@given(st.floats(-60, 60), st.floats(-40, 40), st.floats(-0.01, 0.01), st.floats(0.99, 1.01))
def test_a_known_motion_is_found_to_a_fraction_of_a_cell(
    wall: Image, x: float, y: float, turn: float, zoom: float
) -> None:
    found = motion(seen(wall), seen(wall, x, y, turn, zoom))
    assert found.confidence >= CONFIDENT
    assert found.reason == ""
    expected = moved(x, y, turn, zoom)
    ends = np.array([[0, 0, 1], [WIDTH, 0, 1], [0, HEIGHT, 1], [WIDTH, HEIGHT, 1]], float)
    assert np.abs(ends @ (found.matrix - expected).T).max() < 2.5
    assert find_motion(
        view_of(seen(wall)), view_of(seen(wall, x, y, turn, zoom)), corners(view_of(seen(wall)))
    ).matrix == (pytest.approx(found.matrix, abs=0))


def test_noise_of_a_still_camera_is_no_motion(wall: Image) -> None:
    rng = np.random.default_rng(1)
    noisy = [np.clip(seen(wall) + rng.normal(0, 2, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8) for _ in range(2)]
    found = motion(*noisy)
    assert found.still
    assert found.confidence >= CONFIDENT


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("cut", lambda _: render_surface("brick", (HEIGHT, WIDTH), np.random.default_rng(9))),
        ("blur", lambda image: cv2.blur(image, (1, 15))),
        ("blur", lambda image: cv2.blur(image, (15, 1))),
        ("rotation", lambda image: seen_of(image, turn=0.12)),
        ("zoom", lambda image: seen_of(image, zoom=1.12)),
        ("size", lambda image: image[:-40]),
    ],
)
def test_what_cannot_be_carried_has_no_confidence(wall: Image, reason: str, change: object) -> None:
    image = seen(wall)
    found = motion(image, np.ascontiguousarray(change(image)))  # type: ignore[operator]
    assert found.confidence < CONFIDENT
    assert found.reason == reason


def seen_of(image: Image, *, turn: float = 0.0, zoom: float = 1.0) -> Image:
    matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), np.degrees(turn), zoom)
    return np.asarray(cv2.warpAffine(image, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT_101), np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (30, 40), (500, 500)])
def test_a_blank_wall_and_tiny_frames_carry_only_where_nothing_moved(size: tuple[int, int]) -> None:
    grey, darker = (np.full((*size, 3), level, np.uint8) for level in (120, 90))
    assert motion(grey, grey.copy()).still
    found = motion(grey, darker)
    assert (found.confidence, found.reason) == (0.0, "no texture")


def test_changed_cells_are_found_where_they_are_and_light_is_no_change(wall: Image) -> None:
    before, after = seen(wall), seen(wall, 12.0, 5.0)
    after = np.clip(after * 1.06, 0, 255).astype(np.uint8)
    after[160:224, 320:416] = 40
    found = motion(before, after)
    change = changes(view_of(before), view_of(after), found.matrix)
    assert change.shape == (12, 20)
    rows, cols = np.nonzero(change > 20)
    assert {(row, col) for row in (5, 6) for col in (10, 11, 12)} <= set(zip(rows.tolist(), cols.tolist(), strict=True))
    assert rows.min() >= 4
    assert rows.max() <= 7
    assert cols.min() >= 9
    assert cols.max() <= 13
