"""Surfaces of structures without any crack: concrete, asphalt, brick, stone, plaster, made by arithmetic.

Variety counts for more than likeness: colours, scales, lights and patterns are drawn anew at every call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.scenes.noise import Plane, blobs, cloud, relief, white

Colour = npt.NDArray[np.float32]  # (3,) float32 RGB, 0..255
Size = tuple[int, int]  # height, width in pixels


def render_surface(kind: str | None, size_hw: Size, rng: np.random.Generator) -> Image:
    """A picture of a crack-free surface.

    Args:
        kind: one of :data:`SURFACES`; None draws one.
        size_hw: height and width in pixels.
        rng: all randomness.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        OptionError: no such surface.
    """
    if kind is None:
        kind = str(rng.choice(list(SURFACES)))
    if kind not in SURFACES:
        raise OptionError(f"surface {kind!r}: expected one of {', '.join(SURFACES)}")
    height, width = size_hw
    if rng.random() < 0.5:
        return SURFACES[kind](size_hw, rng)
    # Courses and boards are seldom parallel to the picture.
    angle = float(rng.normal(0, 3 if rng.random() < 0.7 else 15))
    sine, cosine = abs(np.sin(np.radians(angle))), abs(np.cos(np.radians(angle)))
    larger = (int(height * cosine + width * sine) + 2, int(width * cosine + height * sine) + 2)
    matrix = cv2.getRotationMatrix2D((larger[1] / 2, larger[0] / 2), angle, 1.0)
    matrix[0, 2] += (width - larger[1]) / 2
    matrix[1, 2] += (height - larger[0]) / 2
    straight = SURFACES[kind](larger, rng)
    turned = cv2.warpAffine(straight, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(turned, np.uint8)


def _grey(rng: np.random.Generator, low: float, high: float, *, tint: float = 6.0) -> Colour:
    """A nearly neutral colour, warm or cool."""
    warmth = rng.normal(0.4 * tint, 0.8 * tint)  # structures lean to the warm side
    level = rng.uniform(low, high)
    colour = np.array([level + warmth, level + rng.normal(0, 2), level - warmth], np.float32)
    return np.clip(colour, 12, 250)


def _tinted(light: Plane, colour: Colour, hue: Plane | None = None, *, amount: float = 0.01) -> Image:
    """Colour times light (1 = as given), warmer by ``amount`` times ``hue``, as (H, W, 3) uint8 with saturation."""
    red, green, blue = (float(v) for v in colour)
    if hue is None:
        planes = [cv2.convertScaleAbs(light, alpha=value) for value in (red, green, blue)]
    else:
        shift = hue * np.float32(amount)
        planes = [
            cv2.multiply(light, 1 + shift, scale=red, dtype=cv2.CV_8U),
            cv2.convertScaleAbs(light, alpha=green),
            cv2.multiply(light, 1 - shift, scale=blue, dtype=cv2.CV_8U),
        ]
    return np.asarray(cv2.merge(planes), np.uint8)


def _daylight(size_hw: Size, rng: np.random.Generator) -> Plane:
    """Slow fall of light over the picture, and the camera's grain; mean about 1."""
    height, width = size_hw
    across = np.linspace(-0.5, 0.5, width, dtype=np.float32) * np.float32(rng.normal(0, 0.12))
    down = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None] * np.float32(rng.normal(0, 0.12))
    light: Plane = 1 + across + down + white(rng, size_hw) * np.float32(rng.uniform(0.003, 0.025))
    return light


def _weather(size_hw: Size, rng: np.random.Generator) -> Plane:
    """Dirt and moisture: large soft patches, mean about 0, deviation 1."""
    return cloud(
        rng, size_hw, coarsest=rng.uniform(80, 300), finest=rng.uniform(2, 16), gain=float(rng.uniform(0.45, 0.75))
    )


def _smooth_concrete(size_hw: Size, rng: np.random.Generator) -> Image:
    light = _daylight(size_hw, rng)
    light += _weather(size_hw, rng) * np.float32(rng.uniform(0.01, 0.07))
    light += cloud(rng, size_hw, coarsest=rng.uniform(4, 12), gain=0.8) * np.float32(rng.uniform(0.005, 0.03))
    if rng.random() < 0.4:  # the trowel's strokes
        along = (rng.uniform(3, 8), rng.uniform(60, 200))
        strokes = blobs(rng, size_hw, along if rng.random() < 0.5 else along[::-1])
        light += strokes * np.float32(rng.uniform(0.005, 0.025))
    return _tinted(light, _grey(rng, 90, 215), blobs(rng, size_hw, 120))


def _rough_concrete(size_hw: Size, rng: np.random.Generator) -> Image:
    light = _daylight(size_hw, rng)
    light += _weather(size_hw, rng) * np.float32(rng.uniform(0.02, 0.08))
    bumps = cloud(
        rng, size_hw, coarsest=rng.uniform(4, 24), finest=rng.uniform(1, 2), gain=float(rng.uniform(0.5, 0.9))
    )
    light += relief(bumps, rng) * np.float32(rng.uniform(0.02, 0.1))
    if rng.random() < 0.5:  # exposed aggregate
        stones, gaps = _pebbles(size_hw, rng, spacing=rng.uniform(6, 20))
        seen = np.clip(blobs(rng, size_hw, 60) - rng.uniform(-0.5, 1.0), 0, 1)
        light += (stones * np.float32(rng.uniform(0.04, 0.12)) - gaps * np.float32(rng.uniform(0.05, 0.2))) * seen
    return _tinted(light, _grey(rng, 80, 190), blobs(rng, size_hw, 150))


def _boards(size_hw: Size, rng: np.random.Generator) -> Image:
    """Concrete that keeps the print of its formwork."""
    upright = rng.random() < 0.4
    height, width = size_hw[::-1] if upright else size_hw
    pitch = rng.uniform(35, 160)
    edges = np.cumsum(pitch * rng.uniform(0.85, 1.15, int(height / pitch * 1.3) + 3)) - rng.uniform(0, pitch)
    wobble = blobs(rng, (1, width), 90)[0] * rng.uniform(0, 1.2) + np.arange(width) * rng.normal(0, 0.01)
    y = np.arange(height, dtype=np.float32)[:, None] - wobble[None, :].astype(np.float32)
    board = np.searchsorted(edges, y.ravel()).reshape(height, width)
    tone = rng.normal(0, rng.uniform(0.01, 0.06), len(edges) + 1).astype(np.float32)
    light = _daylight((height, width), rng) + tone[board]
    grain = blobs(rng, (height, width), (rng.uniform(1.5, 4), rng.uniform(40, 160)))
    light += grain * np.float32(rng.uniform(0.005, 0.04))
    light += _weather((height, width), rng) * np.float32(rng.uniform(0.01, 0.06))
    fine = cloud(rng, (height, width), coarsest=6, gain=0.9)
    light += fine * np.float32(rng.uniform(0.005, 0.03))
    bounds = np.concatenate([[-1e4], edges, [1e4]]).astype(np.float32)
    nearest = np.minimum(y - bounds[board], bounds[board + 1] - y)  # px to the joint of two boards
    thickness = np.float32(rng.uniform(0.6, 2.0))
    seam = np.exp(-((nearest / thickness) ** 2))
    depth = rng.uniform(0.04, 0.3) * (1 if rng.random() < 0.75 else -0.6)  # a ridge of laitance is bright
    light -= seam * np.clip(1 + blobs(rng, (height, width), (20, 50)) * 0.5, 0, 1.6) * np.float32(depth)
    image = _tinted(light, _grey(rng, 90, 200), grain, amount=0.006)
    return np.ascontiguousarray(image.transpose(1, 0, 2)) if upright else image


def _pebbles(size_hw: Size, rng: np.random.Generator, *, spacing: float) -> tuple[Plane, Plane]:
    """Packed stones: their tone (deviation about 1) and the gaps between them (0..1), both (H, W) float32."""
    height, width = size_hw
    shrink = max(1.0, spacing / 8)  # large stones need no fine map
    rows, columns = int(np.ceil(height / shrink)), int(np.ceil(width / shrink))
    seeds = np.full((rows, columns), 255, np.uint8)
    count = max(4, int(rows * columns * (shrink / spacing) ** 2 * 1.3))
    seeds[rng.integers(0, rows, count), rng.integers(0, columns, count)] = 0
    distance, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    tone = rng.standard_normal(count + 2).astype(np.float32)[np.minimum(labels, count + 1)]
    radius = np.float32(spacing / shrink * rng.uniform(0.35, 0.6))
    gaps = np.clip((distance - radius) / (0.5 * radius), 0, 1)
    if shrink > 1:
        tone = np.asarray(cv2.resize(tone, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
        gaps = np.asarray(cv2.resize(gaps, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return tone, np.asarray(gaps, np.float32)


def _asphalt(size_hw: Size, rng: np.random.Generator, *, spacing: float) -> Image:
    light = _daylight(size_hw, rng)
    tone, gaps = _pebbles(size_hw, rng, spacing=spacing)
    worn = rng.uniform(0.1, 1.0)  # how bare the stones are
    light += np.maximum(tone, -0.7) * np.float32(0.03 + 0.15 * worn)
    light -= gaps * np.float32(rng.uniform(0.08, 0.35))
    light += _weather(size_hw, rng) * np.float32(rng.uniform(0.02, 0.08))
    light += white(rng, size_hw) * np.float32(rng.uniform(0.02, 0.12))
    bright = np.clip(blobs(rng, size_hw, rng.uniform(1.5, 4)) - 2.0, 0, 1.5)
    light += bright * np.float32(rng.uniform(0, 0.5))
    if rng.random() < 0.6:
        light = np.asarray(cv2.GaussianBlur(light, (3, 3), rng.uniform(0.4, 0.9)), np.float32)
    return _tinted(light, _grey(rng, 55, 170), tone, amount=float(rng.uniform(0, 0.03)))


def _fine_asphalt(size_hw: Size, rng: np.random.Generator) -> Image:
    return _asphalt(size_hw, rng, spacing=float(rng.uniform(2.5, 5)))


def _coarse_asphalt(size_hw: Size, rng: np.random.Generator) -> Image:
    return _asphalt(size_hw, rng, spacing=float(rng.uniform(5, 12)))


_BRICK_COLOURS = np.array(
    [[150, 75, 55], [170, 95, 70], [120, 60, 50], [185, 140, 95], [200, 175, 140], [140, 125, 115], [95, 80, 78]],
    np.float32,
)


def _masonry(size_hw: Size, rng: np.random.Generator, *, colour: Colour, course: float, ratio: float) -> Image:
    """Courses of blocks with mortar between them; ``course`` px high, ``ratio`` times as long."""
    height, width = size_hw
    rough = np.float32(rng.uniform(0.2, 1.6) * min(1.0, course / 50))
    y = np.arange(height, dtype=np.float32)[:, None] + blobs(rng, size_hw, rng.uniform(5, 14)) * rough
    x = np.arange(width, dtype=np.float32)[None, :] + blobs(rng, size_hw, rng.uniform(5, 14)) * rough
    y /= np.float32(course)
    y += np.float32(rng.random())
    row = np.floor(y)
    rows = int(height / course) + 4
    bond = rng.choice(["running", "running", "stack", "third", "random"])
    step = {"running": 0.5, "stack": 0.0, "third": 1 / 3, "random": 0.37}[str(bond)]
    offsets = (np.arange(rows) * step + rng.normal(0, 0.02, rows)) % 1.0
    if bond == "random":
        offsets = rng.random(rows)
    row_number = np.clip(row.astype(np.intp) + 1, 0, rows - 1)
    length = course * ratio
    x = x / np.float32(length) + offsets.astype(np.float32)[row_number]
    column = np.floor(x)
    columns = int(width / length) + 4
    brick = row_number * columns + np.clip(column.astype(np.intp) + 1, 0, columns - 1)
    down, across = (y - row) * np.float32(course), (x - column) * np.float32(length)  # px from the block's upper left
    edge = np.minimum(
        np.minimum(down, np.float32(course) - down), np.minimum(across, np.float32(length) - across)
    )  # px inside the cell of a block
    joint = np.float32(rng.uniform(0.03, 0.1) * course)  # half the mortar's width
    inside = np.clip((edge - joint) / np.float32(rng.uniform(0.8, 2.5)) + 0.5, 0, 1)

    spread = rng.uniform(0.02, 0.2)
    tones = (1 + rng.normal(0, spread, rows * columns)).astype(np.float32)
    body = tones[brick]
    body += cloud(rng, size_hw, coarsest=rng.uniform(6, 40), gain=0.8) * np.float32(rng.uniform(0.02, 0.09))
    filler = 1 + cloud(rng, size_hw, coarsest=8, gain=0.9) * np.float32(rng.uniform(0.02, 0.08))
    light = _daylight(size_hw, rng) + _weather(size_hw, rng) * np.float32(rng.uniform(0.01, 0.1))
    # Recessed mortar: the upper block throws a shadow on it, its own lower edge catches light.
    depth = np.float32(rng.uniform(0, 0.35))
    light -= depth * np.clip(1 - np.abs(edge - joint * 0.9) / 2.0, 0, 1) * (down > course / 2)
    mortar = _grey(rng, 60, 205)
    planes = []
    for channel in range(3):
        mixed = filler * float(mortar[channel])
        mixed += inside * (body * float(colour[channel]) - mixed)
        planes.append(cv2.multiply(mixed, light, dtype=cv2.CV_8U))
    return np.asarray(cv2.merge(planes), np.uint8)


def _brick(size_hw: Size, rng: np.random.Generator) -> Image:
    colour = rng.choice(_BRICK_COLOURS) * np.float32(rng.uniform(0.75, 1.2)) + rng.normal(0, 8, 3).astype(np.float32)
    if rng.random() < 0.12:  # painted
        colour = _grey(rng, 170, 235)
    return _masonry(
        size_hw,
        rng,
        colour=np.clip(colour, 20, 245).astype(np.float32),
        course=float(np.exp(rng.uniform(np.log(18), np.log(100)))),
        ratio=float(rng.uniform(2.2, 4.0)),
    )


def _blocks(size_hw: Size, rng: np.random.Generator) -> Image:
    """Ashlar, concrete blocks, paving."""
    colour = _grey(rng, 90, 210, tint=14)
    course = float(np.exp(rng.uniform(np.log(60), np.log(220))))
    return _masonry(size_hw, rng, colour=colour, course=course, ratio=float(rng.uniform(1.0, 2.2)))


def _rubble(size_hw: Size, rng: np.random.Generator) -> Image:
    """Irregular stones in mortar."""
    height, width = size_hw
    spacing = float(np.exp(rng.uniform(np.log(45), np.log(150))))
    shrink = 2
    rows, columns = height // shrink + 1, width // shrink + 1
    seeds = np.full((rows, columns), 255, np.uint8)
    pitch = spacing / shrink
    grid_y, grid_x = np.mgrid[0 : rows + pitch : pitch, 0 : columns + pitch : pitch * rng.uniform(1, 1.7)]
    points = np.stack([grid_y.ravel(), grid_x.ravel()], -1) + rng.normal(0, pitch * 0.28, (grid_y.size, 2))
    points = np.clip(points, 0, (rows - 1, columns - 1)).astype(np.intp)
    seeds[points[:, 0], points[:, 1]] = 0
    _, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    # Bend the straight borders of the nearest-seed map.
    bend = np.float32(rng.uniform(1, 4))
    map_x = np.arange(columns, dtype=np.float32)[None, :] + blobs(rng, (rows, columns), 12) * bend
    map_y = np.arange(rows, dtype=np.float32)[:, None] + blobs(rng, (rows, columns), 12) * bend
    bent = cv2.remap(labels.astype(np.float32), map_x, map_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    border = cv2.morphologyEx(bent, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) == 0
    inner = cv2.distanceTransform(border.astype(np.uint8), cv2.DIST_L2, 3)
    inner = cv2.resize(inner, (width, height), interpolation=cv2.INTER_LINEAR) * shrink
    stone = cv2.resize(bent, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.intp)
    joint = np.float32(rng.uniform(2, 8))  # narrower ones could not be told from a net of cracks
    inside = np.clip((inner - joint) / np.float32(rng.uniform(1, 4)) + 0.5, 0, 1)
    tones = (1 + rng.normal(0, rng.uniform(0.03, 0.18), int(labels.max()) + 2)).astype(np.float32)
    bumps = cloud(rng, size_hw, coarsest=rng.uniform(10, 50), gain=0.75)
    light = tones[stone] + relief(bumps, rng) * np.float32(rng.uniform(0.02, 0.08))
    mortar = np.float32(rng.uniform(0.45, 1.3)) + cloud(rng, size_hw, coarsest=10, gain=0.9) * np.float32(0.05)
    light = mortar + inside * (light - mortar)
    light *= _daylight(size_hw, rng)
    light += _weather(size_hw, rng) * np.float32(rng.uniform(0.01, 0.08))
    return _tinted(light, _grey(rng, 80, 185, tint=12), blobs(rng, size_hw, 60))


def _plaster(size_hw: Size, rng: np.random.Generator) -> Image:
    coarse = rng.uniform(2, 14)
    bumps = cloud(rng, size_hw, coarsest=coarse, gain=float(rng.uniform(0.3, 0.8)))
    light = _daylight(size_hw, rng) + relief(bumps, rng) * np.float32(rng.uniform(0.003, 0.09))
    light += _weather(size_hw, rng) * np.float32(rng.uniform(0.005, 0.06))
    colour = _grey(rng, 130, 240, tint=12)
    if rng.random() < 0.4:  # painted walls
        colour = np.clip(colour + rng.normal(0, 14, 3), 30, 245).astype(np.float32)
    image = _tinted(light, colour, blobs(rng, size_hw, 200))
    if rng.random() < 0.25:  # flaked paint shows what is below
        field = cloud(rng, size_hw, coarsest=rng.uniform(50, 140), finest=2, gain=0.55)
        below = np.clip((field - rng.uniform(1.0, 2.0)) * 12, 0, 1)[..., None]
        under = _tinted(light * np.float32(rng.uniform(0.6, 1.1)), _grey(rng, 80, 190, tint=15))
        image = (image + below * (under.astype(np.float32) - image)).astype(np.uint8)
    return image


SURFACES: Mapping[str, Callable[[Size, np.random.Generator], Image]] = MappingProxyType(
    {
        "concrete": _smooth_concrete,
        "rough-concrete": _rough_concrete,
        "board-concrete": _boards,
        "asphalt": _fine_asphalt,
        "coarse-asphalt": _coarse_asphalt,
        "brick": _brick,
        "blocks": _blocks,
        "rubble": _rubble,
        "plaster": _plaster,
    }
)
