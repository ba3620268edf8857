"""What looks like a crack without being one: joints, formwork, stains, cables, plants, shadows, holes, text.

Each maker changes an image in place and reports nothing: none of it is a crack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.scenes.noise import Plane, blobs, cloud, wave

_PLANT_COLOURS = np.array([(70, 100, 40), (120, 125, 60), (165, 150, 105), (60, 48, 38)], np.float64)  # RGB
_LEAF_COLOURS = np.array([(75, 105, 45), (150, 110, 50), (110, 75, 45), (55, 70, 40)], np.float64)  # RGB
_SHIFT = 4  # fraction bits of the coordinates that OpenCV draws


def add_distractors(
    image: Image,
    rng: np.random.Generator,
    kinds: Sequence[str] | None = None,
    *,
    count: int | None = None,
) -> Image:
    """A copy of an image with things that are not cracks.

    Args:
        image: (H, W, 3) uint8 RGB, left as it is.
        rng: all randomness.
        kinds: names out of :data:`DISTRACTORS` to draw from; None means any.
        count: how many; None draws 1 to 4.

    Raises:
        OptionError: an unknown kind.
    """
    names = tuple(DISTRACTORS) if kinds is None else tuple(kinds)
    for name in names:
        if name not in DISTRACTORS:
            raise OptionError(f"distractor {name!r}: expected some of {', '.join(DISTRACTORS)}")
    changed = image.copy()
    if not names:
        return changed
    number = int(rng.integers(1, 5)) if count is None else count
    for name in rng.choice(names, number):
        DISTRACTORS[str(name)](changed, rng)
    return changed


def _shade(image: Image, amount: Plane) -> None:
    """Multiply by 1 - amount, within the box where there is any. ``amount`` is (H, W), negative to brighten."""
    touched = np.abs(amount) > 0.003
    rows, columns = np.flatnonzero(touched.any(1)), np.flatnonzero(touched.any(0))
    if not len(rows):
        return
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    gain = 1 - amount[box]
    image[box] = cv2.multiply(np.ascontiguousarray(image[box]), cv2.merge([gain] * 3), dtype=cv2.CV_8U)


def _paint(image: Image, share: Plane, colour: Sequence[float] | npt.NDArray[np.float64]) -> None:
    """Blend a colour in; ``share`` is (H, W) in 0..1. The surface's own light and shade stay visible through it."""
    touched = share > 0.003
    rows, columns = np.flatnonzero(touched.any(1)), np.flatnonzero(touched.any(0))
    if not len(rows):
        return
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    part = image[box].astype(np.float32)
    alpha = share[box]
    light = cv2.cvtColor(image[box], cv2.COLOR_RGB2GRAY).astype(np.float32)
    light /= max(float(light.mean()), 1.0)
    for channel in range(3):
        plane = part[..., channel]
        plane += alpha * (np.float32(colour[channel]) * light - plane)
    image[box] = np.clip(part, 0, 255).astype(np.uint8)


def _strokes(
    size_hw: tuple[int, int], lines: Sequence[npt.NDArray[np.float64]], thickness: float, *, soft: float = 0.0
) -> Plane:
    """(H, W) float32 in 0..1: polylines of (N, 2) x, y points drawn with one thickness in pixels."""
    drawn = np.zeros(size_hw, np.uint8)
    whole = max(1, round(thickness))
    for line in lines:
        points = np.round(line * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(drawn, [points], False, 255, whole, cv2.LINE_AA, _SHIFT)
    plane = drawn.astype(np.float32) * np.float32(min(1.0, thickness / whole) / 255)
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), soft), np.float32) if soft > 0.3 else plane


def _chord(size_hw: tuple[int, int], rng: np.random.Generator, *, level: float = 0.6) -> npt.NDArray[np.float64]:
    """Two ends of a straight line across the picture; with probability ``level`` nearly along an axis."""
    height, width = size_hw
    if rng.random() < level:
        angle = float(rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.04))
    else:
        angle = float(rng.uniform(0, np.pi))
    reach = float(np.hypot(height, width))
    centre = np.array([rng.uniform(0.08, 0.92) * width, rng.uniform(0.08, 0.92) * height])
    along = np.array([np.cos(angle), np.sin(angle)]) * reach
    return np.stack([centre - along, centre + along])


def _between(ends: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """``count`` points from the first end to the second: (count, 2)."""
    return np.asarray(ends[0] + (ends[1] - ends[0]) * np.linspace(0, 1, count)[:, None])


def _sagging(size_hw: tuple[int, int], rng: np.random.Generator, wander: float) -> npt.NDArray[np.float64]:
    """A smooth curve across the picture."""
    ends = _chord(size_hw, rng, level=0.3)
    line = _between(ends, 60)
    across = (ends[1] - ends[0])[::-1] * (-1, 1) / np.hypot(*(ends[1] - ends[0]))
    bow = 1 - np.linspace(-1, 1, 60) ** 2
    offset = (
        rng.normal(0, 0.12) * min(size_hw) * bow + np.convolve(wave(rng, 80, 14), np.ones(21) / 21, "valid") * wander
    )
    return np.asarray(line + across * offset[:, None])


def _worn(size_hw: tuple[int, int], rng: np.random.Generator, *, scale: float = 18.0, most: float = 0.6) -> Plane:
    """A factor in 0..1 that takes lines away here and there."""
    return np.clip(1 - np.float32(rng.uniform(0, most)) * np.abs(blobs(rng, size_hw, scale)), 0, 1)


def _depth(rng: np.random.Generator) -> float:
    """Contrast like a crack's."""
    return float(rng.uniform(0.08, 0.55))


def _joint(image: Image, rng: np.random.Generator) -> None:
    """Straight joint: dark, sometimes with a bright lip on one side."""
    size_hw = image.shape[0], image.shape[1]
    ends = _chord(size_hw, rng)
    thickness = float(np.exp(rng.uniform(np.log(1.2), np.log(10))))
    shade = _strokes(size_hw, [ends], thickness, soft=float(rng.uniform(0, 1.2)))
    _shade(image, shade * _worn(size_hw, rng, most=0.35) * np.float32(_depth(rng)))
    if rng.random() < 0.5:
        aside = (ends[1] - ends[0])[::-1] * (-1, 1) / np.hypot(*(ends[1] - ends[0]))
        lip = _strokes(size_hw, [ends + aside * (thickness / 2 + 0.8)], 1.3, soft=0.6)
        _shade(image, lip * np.float32(-rng.uniform(0.05, 0.3)))


def _saw_cut(image: Image, rng: np.random.Generator) -> None:
    """Sharp, thin, perfectly straight cuts; one, or some in parallel."""
    size_hw = image.shape[0], image.shape[1]
    ends = _chord(size_hw, rng, level=0.5)
    aside = (ends[1] - ends[0])[::-1] * (-1, 1) / np.hypot(*(ends[1] - ends[0]))
    pitch = rng.uniform(8, 60)
    lines = [ends + aside * pitch * n for n in range(int(rng.choice([1, 1, 2, 5, 9])))]
    _shade(image, _strokes(size_hw, lines, float(rng.uniform(0.7, 3.5))) * np.float32(_depth(rng)))


def _formwork(image: Image, rng: np.random.Generator) -> None:
    """Lines that boards or panels left: fins and steps of tone, broken here and there."""
    size_hw = image.shape[0], image.shape[1]
    height, width = size_hw
    upright = rng.random() < 0.5
    extent, reach = (width, height) if upright else (height, width)
    pitch = rng.uniform(0.12, 0.7) * extent
    lines = []
    for place in np.arange(rng.uniform(0, pitch), extent, pitch):
        along = np.linspace(-5, reach + 5, 40)
        off = place + np.cumsum(rng.normal(0, 0.12, 40)) + along * rng.normal(0, 0.01)
        lines.append(np.stack([off, along] if upright else [along, off], -1))
    plane = _strokes(size_hw, lines, float(rng.uniform(0.7, 2.8)), soft=float(rng.uniform(0, 0.9)))
    sign = 1 if rng.random() < 0.75 else -1
    _shade(image, plane * _worn(size_hw, rng, scale=30, most=0.9) * np.float32(sign * rng.uniform(0.06, 0.4)))


def _panel_edge(image: Image, rng: np.random.Generator) -> None:
    """A straight border: the two sides differ in tone, with a line of shadow between."""
    size_hw = image.shape[0], image.shape[1]
    ends = _chord(size_hw, rng)
    along = (ends[1] - ends[0]) / np.hypot(*(ends[1] - ends[0]))
    ys, xs = np.ogrid[: size_hw[0], : size_hw[1]]
    side = ((xs - ends[0, 0]) * along[1] - (ys - ends[0, 1]) * along[0]).astype(np.float32)
    step = np.clip(side / np.float32(rng.uniform(0.8, 3)) + 0.5, 0, 1)
    step *= np.float32(rng.normal(0, 0.15))
    dark = np.exp(-np.maximum(side, 0) / np.float32(rng.uniform(1, 12))) * (side > -0.5)
    _shade(image, np.clip(step + dark * np.float32(rng.uniform(0, 0.45)), -0.4, 0.6))


def _cable(image: Image, rng: np.random.Generator) -> None:
    """A cable, wire or rope, and the shadow that it throws."""
    size_hw = image.shape[0], image.shape[1]
    line = _sagging(size_hw, rng, float(rng.uniform(0, 10)))
    thickness = float(np.exp(rng.uniform(np.log(1), np.log(9))))
    if rng.random() < 0.6:
        away = rng.normal(0, 12, 2)
        _shade(image, _strokes(size_hw, [line + away], thickness, soft=float(rng.uniform(0.5, 3))) * np.float32(0.35))
    level = rng.uniform(15, 230)
    if rng.random() < 0.7:
        level = rng.uniform(15, 70)
    _paint(image, _strokes(size_hw, [line], thickness), np.clip(level + rng.normal(0, 12, 3), 5, 250))
    if thickness > 3:
        _shade(image, _strokes(size_hw, [line - (0.2 * thickness, 0.2 * thickness)], thickness / 3, soft=0.7) * -0.5)


def _stain(image: Image, rng: np.random.Generator) -> None:
    """Rust, water, lime or oil with an irregular edge, often darker at its rim."""
    size_hw = image.shape[0], image.shape[1]
    field = cloud(
        rng,
        size_hw,
        coarsest=min(rng.uniform(0.15, 0.6) * max(size_hw), 300.0),
        finest=1.5,
        gain=rng.uniform(0.4, 0.65),
    )
    level = np.float32(rng.uniform(0.3, 1.4))
    inside = np.clip((field - level) * np.float32(rng.uniform(2, 25)), 0, 1)
    # A tide mark; a darker or narrower one could not be told from a crack.
    rim = np.exp(-(((field - level) / np.float32(rng.uniform(0.03, 0.1))) ** 2)) * np.float32(rng.uniform(0, 0.14))
    colour = ((130, 70, 35), (60, 55, 50), (225, 225, 220), (80, 90, 60), (35, 33, 32))[int(rng.integers(0, 5))]
    _paint(image, inside * np.float32(rng.uniform(0.1, 0.7)), colour)
    _shade(image, rim)


def _runs(image: Image, rng: np.random.Generator) -> None:
    """Streaks of rust, lime or dirt that water drew down the wall."""
    size_hw = image.shape[0], image.shape[1]
    height, width = size_hw
    share = np.zeros(size_hw, np.float32)
    for _ in range(int(rng.integers(1, 7))):
        x, top, length = rng.uniform(0, width), rng.uniform(-0.3, 0.7) * height, rng.uniform(0.15, 0.9) * height
        ys = np.linspace(top, top + length, 50)
        line = np.stack([x + np.cumsum(rng.normal(0, 0.35, 50)), ys], -1)
        thickness = float(np.exp(rng.uniform(np.log(1.2), np.log(25))))
        one = _strokes(size_hw, [line], thickness, soft=thickness * 0.3)
        fade = np.clip(1 - (np.arange(height, dtype=np.float32)[:, None] - top) / length, 0, 1)
        np.maximum(share, one * fade, out=share)
    share *= _worn(size_hw, rng, scale=10)
    colour = ((120, 65, 30), (70, 65, 60), (230, 228, 222))[int(rng.integers(0, 3))]
    _paint(image, share * np.float32(rng.uniform(0.15, 0.65)), colour)


def _plants(image: Image, rng: np.random.Generator) -> None:
    """Grass, twigs or roots: thin curved strokes, green, straw or dark, from one or some places."""
    size_hw = image.shape[0], image.shape[1]
    height, width = size_hw
    colour = rng.choice(_PLANT_COLOURS)
    for _ in range(int(rng.integers(1, 4))):
        foot = np.array([rng.uniform(0, width), rng.uniform(0, height)])
        main = rng.uniform(0, 2 * np.pi)
        for _ in range(int(rng.integers(3, 16))):
            count = int(rng.integers(8, 40))
            bearing = main + rng.normal(0, 0.6) + np.cumsum(rng.normal(0, 0.05, count) + rng.normal(0, 0.03))
            steps = np.stack([np.cos(bearing), np.sin(bearing)], -1) * rng.uniform(1.5, 6)
            line = foot + rng.normal(0, 5, 2) + np.cumsum(steps, axis=0)
            shade = np.clip(colour * rng.uniform(0.6, 1.4), 10, 240).tolist()
            thickness = int(rng.choice([1, 1, 2, 3]))
            points = np.round(line * (1 << _SHIFT)).astype(np.int32)
            cv2.polylines(image, [points], False, shade, thickness, cv2.LINE_AA, _SHIFT)


def _leaves(image: Image, rng: np.random.Generator) -> None:
    """Leaves, moss and litter: small bodies of another colour with a shadow."""
    size_hw = image.shape[0], image.shape[1]
    height, width = size_hw
    colour = rng.choice(_LEAF_COLOURS)
    place = np.array([rng.uniform(0, width), rng.uniform(0, height)])
    for _ in range(int(rng.integers(3, 40))):
        centre = place + rng.normal(0, 0.15 * max(size_hw), 2)
        length, angle = rng.uniform(3, 16), rng.uniform(0, 360)
        box = (
            (float(centre[0]), float(centre[1])),
            (float(length * 2), float(length * rng.uniform(0.5, 1.3))),
            float(angle),
        )
        shadow = (box[0][0] + 1.5, box[0][1] + 1.5), box[1], box[2]
        dark = tuple(float(v) for v in colour * 0.4)
        cv2.ellipse(image, shadow, dark, -1, cv2.LINE_AA)
        cv2.ellipse(
            image, box, tuple(float(v) for v in np.clip(colour * rng.uniform(0.7, 1.4), 5, 250)), -1, cv2.LINE_AA
        )


def _shadow(image: Image, rng: np.random.Generator) -> None:
    """A cast shadow: a straight or leafy edge, soft or sharp; sometimes thin bars of a railing."""
    size_hw = image.shape[0], image.shape[1]
    ends = _chord(size_hw, rng, level=0.2)
    if rng.random() < 0.35:
        aside = (ends[1] - ends[0])[::-1] * (-1, 1) / np.hypot(*(ends[1] - ends[0]))
        pitch = rng.uniform(20, 120)
        lines = [ends + aside * pitch * n for n in range(-3, 4)]
        shade = _strokes(size_hw, lines, float(rng.uniform(2, 14)), soft=float(rng.uniform(0.5, 4)))
    else:
        along = (ends[1] - ends[0]) / np.hypot(*(ends[1] - ends[0]))
        ys, xs = np.ogrid[: size_hw[0], : size_hw[1]]
        side = ((xs - ends[0, 0]) * along[1] - (ys - ends[0, 1]) * along[0]).astype(np.float32)
        if rng.random() < 0.5:
            side = side + cloud(rng, size_hw, coarsest=rng.uniform(30, 120), finest=4) * np.float32(rng.uniform(3, 40))
        shade = np.clip(side / np.float32(rng.uniform(1, 25)) + 0.5, 0, 1)
    _shade(image, shade * np.float32(rng.uniform(0.15, 0.6)))


def _bug_holes(image: Image, rng: np.random.Generator) -> None:
    """Air voids and pits: dark dots, lit at their lower edge; sometimes in a row."""
    size_hw = image.shape[0], image.shape[1]
    height, width = size_hw
    shade = np.zeros(size_hw, np.uint8)
    light = np.zeros(size_hw, np.uint8)
    row = _between(_chord(size_hw, rng), 200) if rng.random() < 0.25 else None
    for _ in range(int(rng.integers(5, 90))):
        place = np.array([rng.uniform(0, width), rng.uniform(0, height)])
        if row is not None:
            place = row[int(rng.integers(0, len(row)))] + rng.normal(0, 1.5, 2)
        radius = float(np.exp(rng.normal(0.4, 0.55)))
        axes = float(radius * 2), float(radius * 2 * rng.uniform(0.6, 1.5))
        spot = float(place[0]), float(place[1])
        cv2.ellipse(light, ((spot[0], spot[1] + 0.35 * radius + 0.5), axes, 0.0), 255, -1, cv2.LINE_AA)
        cv2.ellipse(shade, (spot, axes, float(rng.uniform(0, 180))), 255, -1, cv2.LINE_AA)
    light[shade > 128] = 0
    scale = np.float32(1 / 255)
    depth = np.float32(rng.uniform(0.15, 0.7))
    _shade(image, shade.astype(np.float32) * (scale * depth) - light.astype(np.float32) * (scale * np.float32(0.15)))


def _tie_holes(image: Image, rng: np.random.Generator) -> None:
    """Holes of formwork ties, bolts, anchors: round, on a lattice, often with a ring and a streak."""
    size_hw = image.shape[0], image.shape[1]
    height, width = size_hw
    pitch = rng.uniform(0.25, 0.8) * min(size_hw)
    radius = float(rng.uniform(4, 16))
    shade = np.zeros(size_hw, np.uint8)
    ring = np.zeros(size_hw, np.uint8)
    one = 1 << _SHIFT
    for y in np.arange(rng.uniform(0, pitch), height, pitch):
        for x in np.arange(rng.uniform(0, pitch), width, pitch):
            spot = int(x * one), int(y * one)
            cv2.circle(shade, spot, int(radius * one), 255, -1, cv2.LINE_AA, _SHIFT)
            cv2.circle(ring, spot, int(radius * rng.uniform(1.3, 1.8) * one), 255, 1, cv2.LINE_AA, _SHIFT)
    sign = 1 if rng.random() < 0.8 else -0.6
    amount = shade.astype(np.float32) * np.float32(sign * rng.uniform(0.15, 0.6) / 255)
    amount += ring.astype(np.float32) * np.float32(rng.uniform(0, 0.4) / 255)
    _shade(image, np.asarray(cv2.GaussianBlur(amount, (3, 3), 0.7), np.float32))


def _scratches(image: Image, rng: np.random.Generator) -> None:
    """Scratches and scuffs, bright or dark, nearly straight and fading out."""
    size_hw = image.shape[0], image.shape[1]
    height, width = size_hw
    main = rng.uniform(0, np.pi)
    lines = []
    for _ in range(int(rng.integers(1, 12))):
        angle = main + rng.normal(0, 0.25)
        length = rng.uniform(20, 220)
        start = np.array([rng.uniform(0, width), rng.uniform(0, height)])
        t = np.linspace(0, 1, 12)[:, None]
        bend = np.array([-np.sin(angle), np.cos(angle)]) * rng.normal(0, 8)
        lines.append(start + t * length * np.array([np.cos(angle), np.sin(angle)]) + t * (1 - t) * bend)
    sign = -1 if rng.random() < 0.6 else 1
    plane = _strokes(size_hw, lines, float(rng.uniform(0.5, 2)), soft=float(rng.uniform(0, 0.7)))
    _shade(image, plane * _worn(size_hw, rng, scale=8, most=1.0) * np.float32(sign * rng.uniform(0.1, 0.45)))


def _paint_line(image: Image, rng: np.random.Generator) -> None:
    """A lane mark or a painted stripe, worn."""
    size_hw = image.shape[0], image.shape[1]
    ends = _chord(size_hw, rng)
    colour = ((235, 232, 225), (225, 190, 70), (200, 60, 50), (60, 90, 150))[int(rng.choice(4, p=(0.6, 0.2, 0.1, 0.1)))]
    share = _strokes(size_hw, [ends], float(rng.uniform(8, 60)))
    worn = cloud(rng, size_hw, coarsest=40, gain=0.8) + np.float32(rng.uniform(0.3, 3))
    _paint(image, share * np.clip(worn * 3, 0, 1) * np.float32(rng.uniform(0.5, 0.95)), colour)


_WORDS = ("A7", "P12", "0.3 mm", "NORD", "B-04", "2021", "+1.50", "K3", "OK", "W=0,2", "Achse 5", "x")


def _text(image: Image, rng: np.random.Generator) -> None:
    """Chalk and spray: numbers, arrows, ticks, and hand-drawn lines."""
    size_hw = image.shape[0], image.shape[1]
    height, width = size_hw
    drawn = np.zeros(size_hw, np.uint8)
    thickness = int(rng.integers(1, 5))
    font = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX]))
    height_factor = float(rng.uniform(0.6, 2.6))
    for _ in range(int(rng.integers(1, 4))):
        spot = int(rng.uniform(0, 0.7) * width), int(rng.uniform(0.1, 1) * height)
        cv2.putText(drawn, str(rng.choice(_WORDS)), spot, font, height_factor, 255, thickness, cv2.LINE_AA)
        if rng.random() < 0.4:
            line = _sagging(size_hw, rng, 6.0)
            cv2.polylines(drawn, [line.astype(np.int32)], False, 255, thickness, cv2.LINE_AA)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.normal(0, 25)), 1.0)
    turned = cv2.warpAffine(drawn, matrix, (width, height)).astype(np.float32) * np.float32(1 / 255)
    colour = ((240, 240, 235), (230, 120, 40), (60, 110, 190), (30, 30, 30), (220, 60, 60))[int(rng.integers(0, 5))]
    _paint(image, turned * _worn(size_hw, rng, scale=3, most=0.9) * np.float32(rng.uniform(0.35, 0.95)), colour)


def _patch(image: Image, rng: np.random.Generator) -> None:
    """A repaired place: a polygon of another tone, with or without a seam."""
    size_hw = image.shape[0], image.shape[1]
    height, width = size_hw
    centre = np.array([rng.uniform(0, width), rng.uniform(0, height)])
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 8))))
    if rng.random() < 0.5:
        angles = np.array([0.25, 0.75, 1.25, 1.75]) * np.pi + rng.normal(0, 0.12)
    corners = centre + np.stack([np.cos(angles), np.sin(angles)], -1) * rng.uniform(0.2, 0.7) * min(size_hw)
    shape = np.zeros(size_hw, np.uint8)
    cv2.fillPoly(shape, [corners.astype(np.int32)], 255, cv2.LINE_AA)
    amount = shape.astype(np.float32) * np.float32(rng.normal(0.05, 0.15) / 255)
    if rng.random() < 0.6:
        seam = _strokes(size_hw, [np.concatenate([corners, corners[:1]])], float(rng.uniform(0.8, 5)), soft=0.7)
        amount += seam * _worn(size_hw, rng, scale=12) * np.float32(rng.uniform(-0.2, 0.5))
    _shade(image, np.clip(amount, -0.4, 0.6))


def _grooves(image: Image, rng: np.random.Generator) -> None:
    """Broomed, raked or milled grooves: many fine lines side by side over part of the picture."""
    size_hw = image.shape[0], image.shape[1]
    ends = _chord(size_hw, rng, level=0.7)
    along = (ends[1] - ends[0]) / np.hypot(*(ends[1] - ends[0]))
    ys, xs = np.ogrid[: size_hw[0], : size_hw[1]]
    side = ((xs - ends[0, 0]) * along[1] - (ys - ends[0, 1]) * along[0]).astype(np.float32)
    side = side + blobs(rng, size_hw, 40) * np.float32(rng.uniform(0, 1.5))
    lines = np.maximum(np.sin(side * np.float32(2 * np.pi / rng.uniform(5, 40))), 0) ** np.float32(rng.uniform(1, 8))
    where = np.clip(blobs(rng, size_hw, 0.4 * min(size_hw)) + np.float32(rng.uniform(0, 2)), 0, 1)
    _shade(image, lines * where * np.float32(rng.uniform(0.05, 0.3)))


def _mesh(image: Image, rng: np.random.Generator) -> None:
    """Stains of the reinforcement below the surface: a soft lattice of darker bands."""
    size_hw = image.shape[0], image.shape[1]
    angle = rng.normal(0, 0.1)
    pitch = rng.uniform(35, 140)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    reach = float(np.hypot(*size_hw))
    steps = np.arange(-reach, 2 * reach, pitch)
    lines = [np.stack([across * s - along * reach, across * s + along * 2 * reach]) for s in steps]
    lines += [np.stack([along * s - across * reach, along * s + across * 2 * reach]) for s in steps]
    plane = _strokes(size_hw, lines, float(rng.uniform(2, 9)), soft=float(rng.uniform(1, 4)))
    where = np.clip(blobs(rng, size_hw, 0.3 * min(size_hw)) + 0.5, 0, 1)
    _shade(image, plane * where * np.float32(rng.uniform(0.05, 0.3)))


DISTRACTORS: Mapping[str, Callable[[Image, np.random.Generator], None]] = MappingProxyType(
    {
        "joint": _joint,
        "saw-cut": _saw_cut,
        "formwork": _formwork,
        "panel-edge": _panel_edge,
        "cable": _cable,
        "stain": _stain,
        "runs": _runs,
        "plants": _plants,
        "leaves": _leaves,
        "shadow": _shadow,
        "bug-holes": _bug_holes,
        "tie-holes": _tie_holes,
        "scratches": _scratches,
        "paint-line": _paint_line,
        "text": _text,
        "patch": _patch,
        "grooves": _grooves,
        "mesh": _mesh,
    }
)
