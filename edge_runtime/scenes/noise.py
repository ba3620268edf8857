"""Random fields that surfaces and scenes are made of. One generator in, the same field out."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]  # (H, W) float32

_EDGE = 1024  # px, edge of the stored tile


@lru_cache(maxsize=1)
def _tile() -> Plane:
    """(1024, 1024) of standard normal values. Cutting from it is some twenty times faster than drawing afresh."""
    tile = np.random.default_rng(20240229).standard_normal((_EDGE, _EDGE), dtype=np.float32)
    tile.flags.writeable = False
    return tile


def white(rng: np.random.Generator, size_hw: tuple[int, int]) -> Plane:
    """Uncorrelated field of mean 0 and deviation 1; a random cut of a stored tile where one fits, so read-only."""
    height, width = size_hw
    if height > _EDGE or width > _EDGE:
        return rng.standard_normal(size_hw, dtype=np.float32)
    top, left, flips = (int(v) for v in rng.integers((_EDGE - height + 1, _EDGE - width + 1, 4)))
    cut = _tile()[top : top + height, left : left + width]
    return cut[:: -1 if flips & 1 else 1, :: -1 if flips & 2 else 1]


def blobs(rng: np.random.Generator, size_hw: tuple[int, int], scale: float | tuple[float, float]) -> Plane:
    """Smooth field of one feature size, mean about 0 and deviation about 1.

    Args:
        rng: where the randomness comes from.
        size_hw: of the field.
        scale: feature size in pixels, or (down, across).
    """
    down, across = scale if isinstance(scale, tuple) else (scale, scale)
    height, width = size_hw
    coarse = white(rng, (max(2, round(height / down) + 1), max(2, round(width / across) + 1)))
    field = cv2.resize(np.ascontiguousarray(coarse), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(field, np.float32) * 1.4  # interpolation takes about 30 % of the deviation away


def cloud(
    rng: np.random.Generator, size_hw: tuple[int, int], *, coarsest: float, finest: float = 1.0, gain: float = 0.6
) -> Plane:
    """Fractal field, mean about 0 and deviation 1.

    Args:
        rng: where the randomness comes from.
        size_hw: of the field.
        coarsest: largest feature size in pixels.
        finest: smallest feature size in pixels.
        gain: amplitude of an octave over that of the next coarser one.
    """
    height, width = size_hw
    scales = [coarsest]
    while scales[-1] / 2 >= finest:
        scales.append(scales[-1] / 2)
    field: Plane | None = None
    amplitude = 1.0
    for scale in scales:
        rows, columns = max(2, round(height / scale) + 1), max(2, round(width / scale) + 1)
        octave = white(rng, (rows, columns)) * np.float32(amplitude)
        if field is not None:
            octave += cv2.resize(field, (columns, rows), interpolation=cv2.INTER_LINEAR)
        field = octave
        amplitude *= gain
    assert field is not None
    full = np.asarray(cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    sample = full[::4, ::4]
    full -= sample.mean()
    full /= max(float(sample.std()), 1e-6)
    return full


def relief(height_field: Plane, rng: np.random.Generator) -> Plane:
    """How a bumpy surface looks in slanting light from a random side; deviation about 1."""
    angle = rng.uniform(0, 2 * np.pi)
    kernel = np.zeros((3, 3), np.float32)
    kernel[1, 0], kernel[1, 2] = -np.cos(angle), np.cos(angle)
    kernel[0, 1], kernel[2, 1] = -np.sin(angle), np.sin(angle)
    lit = np.asarray(cv2.filter2D(height_field, cv2.CV_32F, kernel), np.float32)
    lit /= max(float(lit[::4, ::4].std()), 1e-6)
    return lit


def wave(rng: np.random.Generator, count: int, period: float) -> npt.NDArray[np.float64]:
    """Smooth line of ``count`` values, feature size ``period`` values, deviation about 1."""
    knots = rng.standard_normal(max(2, int(np.ceil(count / period)) + 2))
    return np.asarray(np.interp(np.arange(count) / period + rng.random(), np.arange(len(knots)), knots) * 1.2)
