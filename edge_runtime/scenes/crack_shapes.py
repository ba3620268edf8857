"""Cracks by geometry: wandering paths with a width at every point, their exact coverage of pixels, their darkness.

Coordinates are (x, y) in pixels; the centre of pixel (row, column) lies at (column, row), as OpenCV has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.scenes.noise import Plane, blobs, wave

STYLES = ("wandering", "straight", "jagged", "stepped")

_FINE = 4  # a pixel's coverage is counted on 4 x 4 points
_STEP = 2.0  # px between two points of a path
_SPAN = 160  # points drawn at a time, so that the fine map stays small


@dataclass(frozen=True, slots=True)
class CrackLine:
    """One unbranched stretch of a crack.

    Attributes:
        path: (N, 2) float64, x and y in pixels along the centre-line, some two pixels apart.
        widths: (N,) float64, full width in pixels at each point; 0 where the crack is closed (a gap).
    """

    path: npt.NDArray[np.float64]
    widths: npt.NDArray[np.float64]

    @property
    def length_px(self) -> float:
        """Length of the path, gaps included."""
        return float(np.hypot(*np.diff(self.path, axis=0).T).sum())


@dataclass(frozen=True, slots=True)
class Crack:
    """One crack: its trunk first, then its branches."""

    lines: tuple[CrackLine, ...]

    @property
    def trunk(self) -> CrackLine:
        """The longest way through, from which branches leave."""
        return self.lines[0]


def _wander(
    rng: np.random.Generator,
    start: Sequence[float] | npt.NDArray[np.float64],
    heading: float,
    length: float,
    style: str,
) -> npt.NDArray[np.float64]:
    """A path of some length that keeps its heading on the whole and leaves it on every smaller scale."""
    count = max(3, int(length / _STEP) + 1)
    if style == "stepped":  # as through mortar: along the courses, then across, again and again
        runs = max(2, int(length / rng.uniform(20, 70)))
        upright = rng.random() < 0.5
        turn = np.where(np.arange(runs) % 2 == int(upright), 0.0, rng.choice([-1, 1]) * np.pi / 2)
        bearing = np.repeat(turn, rng.integers(4, 20, runs))
        bearing = np.resize(bearing, count) + wave(rng, count, 3) * 0.2
        bearing += round(heading / (np.pi / 2)) * np.pi / 2
    else:
        large, middle, small = {
            "wandering": (0.28, 0.38, 0.45),
            "straight": (0.08, 0.14, 0.2),
            "jagged": (0.25, 0.55, 0.8),
        }[style]
        bearing = heading + large * wave(rng, count, rng.uniform(40, 110))
        bearing += middle * wave(rng, count, rng.uniform(8, 20)) + small * wave(rng, count, rng.uniform(1.5, 4))
        kinks = rng.random(count) < 0.012
        bearing += rng.normal(0, 0.4, count)[np.maximum.accumulate(np.where(kinks, np.arange(count), 0))]
    steps = np.stack([np.cos(bearing), np.sin(bearing)], -1) * _STEP
    path: npt.NDArray[np.float64] = np.concatenate([np.zeros((1, 2)), np.cumsum(steps[:-1], axis=0)])
    return path + np.asarray(start, np.float64)


def _widths(
    rng: np.random.Generator, count: int, width_px: float, *, gaps: float, tapers: tuple[bool, bool]
) -> npt.NDArray[np.float64]:
    """Widths along a path: slow and quick changes around ``width_px``, thin ends, closed stretches."""
    factor = 1 + 0.2 * wave(rng, count, 40) + 0.12 * wave(rng, count, 6) + 0.12 * wave(rng, count, 1.2)
    widths = width_px * np.clip(factor, 0.45, 1.7)
    ramp = max(3, min(count // 3, int(60 / _STEP)))
    if tapers[0]:
        widths[:ramp] *= np.linspace(0.3, 1, ramp)
    if tapers[1]:
        widths[-ramp:] *= np.linspace(1, 0.3, ramp)
    for _ in range(int(rng.poisson(gaps * count * _STEP / 100))):
        length = int(rng.uniform(4, 16) / _STEP) + 1
        first = int(rng.integers(0, max(1, count - length)))
        if first > ramp // 2 and first + length < count - ramp // 2:
            widths[first : first + length] = 0.0
    return widths


def grow_crack(
    rng: np.random.Generator,
    *,
    start: Sequence[float] | npt.NDArray[np.float64],
    heading: float,
    length_px: float,
    width_px: float,
    style: str | None = None,
    branches: int | None = None,
    gaps: float = 0.3,
) -> Crack:
    """A random crack.

    Args:
        rng: all randomness.
        start: x, y in pixels.
        heading: mean direction in radians, 0 to the right, growing clockwise (y points down).
        length_px: length of the trunk along its path.
        width_px: typical full width of the trunk; branches are thinner.
        style: one of :data:`STYLES`; None draws one.
        branches: how many; None draws by length.
        gaps: closed stretches per 100 px of length.

    Raises:
        OptionError: no such style, or a size that is not positive.
    """
    if style is None:
        style = str(rng.choice(STYLES, p=(0.5, 0.2, 0.25, 0.05)))
    if style not in STYLES:
        raise OptionError(f"crack style {style!r}: expected one of {', '.join(STYLES)}")
    if not (length_px > 0 and width_px > 0):
        raise OptionError(f"crack of {length_px:g} x {width_px:g} px: expected a positive length and width")
    trunk = _wander(rng, start, heading, length_px, style)
    # Wide cracks have broken edges, not the outline of a worm.
    trunk = trunk + np.clip(rng.normal(0, 0.07 * max(0.0, width_px - 1.5), trunk.shape), -0.9, 0.9)
    widths = _widths(rng, len(trunk), width_px, gaps=gaps, tapers=(rng.random() < 0.7, rng.random() < 0.7))
    lines = [CrackLine(trunk, widths)]
    if branches is None:
        branches = int(rng.poisson(length_px / 350))
    for _ in range(branches):
        parent = lines[int(rng.integers(0, len(lines)))]
        at = int(rng.uniform(0.1, 0.9) * len(parent.path))
        ahead = parent.path[min(at + 6, len(parent.path) - 1)] - parent.path[max(at - 6, 0)]
        turn = rng.choice([-1, 1]) * rng.uniform(0.35, 1.3)
        length = length_px * rng.uniform(0.08, 0.4)
        path = _wander(rng, parent.path[at], float(np.arctan2(ahead[1], ahead[0]) + turn), length, style)
        thin = max(0.6, width_px * rng.uniform(0.4, 0.9))
        lines.append(CrackLine(path, _widths(rng, len(path), thin, gaps=gaps, tapers=(False, True))))
    return Crack(tuple(lines))


def crack_across(
    rng: np.random.Generator,
    size_hw: tuple[int, int],
    *,
    width_px: float,
    style: str | None = None,
    branches: int | None = None,
    gaps: float = 0.3,
) -> Crack:
    """A random crack through a random place of a picture: through all of it, or ending inside."""
    height, width = size_hw
    heading = float(rng.uniform(-np.pi, np.pi))
    diagonal = float(np.hypot(height, width))
    length = diagonal * float(rng.choice([rng.uniform(0.25, 0.7), 1.3]))
    through = np.array([rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height])
    start = through - np.array([np.cos(heading), np.sin(heading)]) * length / 2
    return grow_crack(
        rng,
        start=start,
        heading=heading,
        length_px=length,
        width_px=width_px,
        style=style,
        branches=branches,
        gaps=gaps,
    )


def coverage(lines: Sequence[CrackLine], size_hw: tuple[int, int]) -> Plane:
    """How much of each pixel the cracks cover: (H, W) float32 in 0..1, counted on 4 x 4 points a pixel."""
    covered = np.zeros(size_hw, np.float32)
    for line in lines:
        half = np.maximum(line.widths / 2, 0)
        direction = np.gradient(line.path, axis=0)
        direction /= np.maximum(np.hypot(direction[:, 0], direction[:, 1]), 1e-9)[:, None]
        normal = np.stack([-direction[:, 1], direction[:, 0]], -1)
        for first in range(0, len(line.path) - 1, _SPAN):
            # One point more than the span, so that neighbours overlap and no seam is seen.
            part = slice(first, min(first + _SPAN + 2, len(line.path)))
            _cover_part(covered, line.path[part], normal[part], half[part])
    return covered


def _cover_part(
    covered: Plane, path: npt.NDArray[np.float64], normal: npt.NDArray[np.float64], half: npt.NDArray[np.float64]
) -> None:
    """Raise ``covered`` to the coverage of one short ribbon, whose pieces are the four-cornered links of the path."""
    height, width = covered.shape
    margin = float(half.max()) + 2
    low = np.floor(path.min(0) - margin).astype(int)
    high = np.ceil(path.max(0) + margin).astype(int) + 1
    left, top = max(0, int(low[0])), max(0, int(low[1]))
    right, bottom = min(width, int(high[0])), min(height, int(high[1]))
    if left >= right or top >= bottom:
        return
    fine = np.zeros(((bottom - top) * _FINE, (right - left) * _FINE), np.uint8)
    # A filled polygon takes the points on its border too: half a fine point on each side, given back here.
    inner = np.maximum(half * _FINE - 0.5, 0.0)[:, None]
    centre = (path - (left, top) + 0.5) * _FINE - 0.5
    one, other = centre + normal * inner, centre - normal * inner
    open_links = (half[:-1] > 0) & (half[1:] > 0)
    quads = np.stack([one[:-1], one[1:], other[1:], other[:-1]], 1)[open_links]
    shift = 4
    for quad in np.round(quads * (1 << shift)).astype(np.int32):
        cv2.fillConvexPoly(fine, quad, 255, cv2.LINE_8, shift)
    share = cv2.resize(fine, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    view = covered[top:bottom, left:right]
    np.maximum(view, share.astype(np.float32) * np.float32(1 / 255), out=view)


def crack_mask(
    lines: Sequence[CrackLine], size_hw: tuple[int, int], *, covered: Plane | None = None
) -> npt.NDArray[np.uint8]:
    """Which pixels are crack: (H, W) uint8, 255 or 0.

    A pixel counts when the crack covers half of it, and wherever the open centre-line passes, so that a crack of one
    pixel's width that lies astride two rows is still there, and in one piece.

    Args:
        lines: in pixels of the picture.
        size_hw: of the picture.
        covered: what :func:`coverage` gives for them, where it is at hand.
    """
    height, width = size_hw
    mask = np.asarray(((coverage(lines, size_hw) if covered is None else covered) >= 0.5) * np.uint8(255), np.uint8)
    for line in lines:
        at = np.arange(0, len(line.path) - 1 + 1e-9, 0.25)  # half a pixel apart
        nodes = np.arange(len(line.path))
        open_there = np.interp(at, nodes, (line.widths > 0).astype(np.float64)) == 1
        columns = np.rint(np.interp(at, nodes, line.path[:, 0])).astype(np.intp)
        rows = np.rint(np.interp(at, nodes, line.path[:, 1])).astype(np.intp)
        seen = open_there & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        mask[rows[seen], columns[seen]] = 255
    return mask


def darken(image: Image, covered: Plane, contrast: float | Plane) -> None:
    """Darken an image in place: a fully covered pixel loses the share ``contrast`` of its light."""
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    if not len(rows):
        return
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    gain = 1 - covered[box] * (contrast if isinstance(contrast, float) else contrast[box])
    image[box] = cv2.multiply(np.ascontiguousarray(image[box]), cv2.merge([gain] * 3), dtype=cv2.CV_8U)


def depth_map(rng: np.random.Generator, size_hw: tuple[int, int], contrast: float, *, rough: float = 0.25) -> Plane:
    """Contrast from place to place: at most ``contrast``, here and there less by about the share ``rough``."""
    field = blobs(rng, size_hw, 24.0) * np.float32(rough)
    return np.asarray(contrast * np.clip(1 - np.abs(field), 0.35, 1.0), np.float32)


def draw_crack(
    image: Image,
    rng: np.random.Generator,
    *,
    width_px: float | None = None,
    contrast: float | None = None,
    style: str | None = None,
    branches: int | None = None,
    gaps: float = 0.3,
    softness: float | None = None,
) -> npt.NDArray[np.uint8]:
    """Darken an image in place by a random crack.

    Args:
        image: (H, W, 3) uint8 RGB, changed in place.
        rng: all randomness.
        width_px: typical full width; None draws 1 to 8.
        contrast: share of light lost inside, 0..1; None draws 0.08 to 0.7.
        style: one of :data:`STYLES`; None draws one.
        branches: how many; None draws by length.
        gaps: closed stretches per 100 px of length.
        softness: blur of the crack's edge as a Gaussian sigma in pixels; None draws up to 1.

    Returns:
        (H, W) uint8, 255 on the crack and 0 elsewhere, by :func:`crack_mask`; at least 30 pixels of crack.
    """
    size_hw = image.shape[0], image.shape[1]
    width_px = float(np.exp(rng.uniform(0.0, np.log(8.0)))) if width_px is None else width_px
    contrast = float(rng.uniform(0.08, 0.7)) if contrast is None else contrast
    softness = float(rng.uniform(0, 1)) if softness is None else softness
    while True:
        crack = crack_across(rng, size_hw, width_px=width_px, style=style, branches=branches, gaps=gaps)
        covered = coverage(crack.lines, size_hw)
        mask = crack_mask(crack.lines, size_hw, covered=covered)
        if np.count_nonzero(mask) >= 30:
            break
    if softness > 0.25:
        covered = np.asarray(cv2.GaussianBlur(covered, (0, 0), softness), np.float32)
    darken(image, covered, depth_map(rng, size_hw, contrast))
    return mask
