"""What cameras, light and distance do to a picture, done to training canvases. numpy and OpenCV only.

Every function takes an image, (H, W, 3) uint8 RGB, and a ``numpy.random.Generator``, and returns a new image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.frame import Image

Rng = np.random.Generator
MAX_TILT_DEG = 20.0  # beside the quarter turns
_LEVELS = np.arange(256, dtype=np.float32)


def exposure(image: Image, rng: Rng) -> Image:
    """Brightness, contrast, gamma and white balance, as one look-up table for each channel."""
    gamma = np.exp(rng.uniform(-0.4, 0.4))
    contrast = np.exp(rng.uniform(-0.5, 0.35))
    shift = rng.uniform(-35, 35)
    balance = np.exp(rng.normal(0, 0.06, 3))
    curve = 255 * (_LEVELS / 255) ** gamma
    curve = (curve - 128) * contrast + 128 + shift
    table = np.clip(curve[:, None] * balance[None], 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)


def grey(image: Image, rng: Rng) -> Image:
    """Less colour, down to none."""
    luma = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    share = rng.uniform(0.4, 1.0)
    return np.asarray(cv2.addWeighted(luma, share, image, 1 - share, 0), np.uint8)


def low_light(image: Image, rng: Rng) -> Image:
    """A dark exposure, brought up again: coarse steps and strong noise."""
    gain = rng.uniform(0.15, 0.45)
    dark = image.astype(np.float32) * gain + rng.normal(0, 2.5, image.shape).astype(np.float32)
    return np.clip(np.round(dark) * rng.uniform(0.6, 1.0) / gain, 0, 255).astype(np.uint8)


def shadow(image: Image, rng: Rng) -> Image:
    """A straight shadow edge, hard or soft, that is not a crack."""
    height, width = image.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.ogrid[:height, :width]
    distance = (columns - rng.uniform(0, width)) * np.cos(angle) + (rows - rng.uniform(0, height)) * np.sin(angle)
    lit = 1 / (1 + np.exp(-np.clip(distance / rng.uniform(0.7, 25), -30, 30)))
    factor = (1 - rng.uniform(0.2, 0.6) * (1 - lit)).astype(np.float32)
    return np.asarray(image * factor[..., None], np.uint8)


def defocus(image: Image, rng: Rng) -> Image:
    """Gaussian blur of a standard deviation of 0.4 to 1.8 px."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.8)), np.uint8)


def motion_blur(image: Image, rng: Rng) -> Image:
    """A straight smear of 3 to 9 px."""
    length = int(rng.integers(3, 10))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    centre = (length - 1) / 2
    reach = np.array([np.cos(angle), np.sin(angle)]) * centre
    start, stop = np.round(centre - reach).astype(int), np.round(centre + reach).astype(int)
    cv2.line(kernel, start.tolist(), stop.tolist(), 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def resample(image: Image, rng: Rng) -> Image:
    """Fewer pixels and back: a soft, scaled-up video."""
    height, width = image.shape[:2]
    factor = rng.uniform(0.5, 0.9)
    small = cv2.resize(image, (int(width * factor), int(height * factor)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def sharpen(image: Image, rng: Rng) -> Image:
    """The edge enhancement of cheap cameras."""
    amount = rng.uniform(0.3, 1.2)
    soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 2.0))
    return np.asarray(cv2.addWeighted(image, 1 + amount, soft, -amount, 0), np.uint8)


def noise(image: Image, rng: Rng) -> Image:
    """Gaussian sensor noise, sometimes coarser than a pixel."""
    height, width = image.shape[:2]
    grain = 2 if rng.random() < 0.3 else 1
    shape = (-(-height // grain), -(-width // grain), 3 if rng.random() < 0.5 else 1)
    values: npt.NDArray[Any] = rng.standard_normal(shape, np.float32) * np.float32(rng.uniform(2, 12))
    if grain > 1:
        values = np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)).reshape(
            height, width, -1
        )
    return np.asarray(np.clip(image + values, 0, 255), np.uint8)


def jpeg(image: Image, rng: Rng) -> Image:
    """Compression at a quality of 25 to 85."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 86))])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


# Applied in this order, each with its probability: light first, then optics, then sensor, then encoding.
_CHAIN: tuple[tuple[float, Callable[[Image, Rng], Image]], ...] = (
    (0.20, shadow),
    (0.85, exposure),
    (0.15, grey),
    (0.12, defocus),
    (0.10, motion_blur),
    (0.07, resample),
    (0.10, sharpen),
    (0.04, low_light),
    (0.25, noise),
    (0.25, jpeg),
)


def photograph(image: Image, rng: Rng) -> Image:
    """The canvas as some camera would have taken it: a random part of the chain above."""
    for probability, step in _CHAIN:
        if rng.random() < probability:
            image = step(image, rng)
    return image


def affine(
    image: Image,
    label: npt.NDArray[np.uint8],
    *,
    out_px: int,
    scale: float,
    rng: Rng,
) -> tuple[Image, npt.NDArray[np.uint8]]:
    """A square view of a photo: scaled, turned by quarter turns and a tilt, perhaps mirrored, reflected past its edges.

    Args:
        image: (H, W, 3) uint8 RGB.
        label: (H, W) uint8, see :mod:`crackedge.train.canvas`.
        out_px: edge of the view.
        scale: view pixels for one photo pixel.
        rng: source of chance.

    Returns:
        The view and its label.
    """
    if scale < 0.8:  # warping alone would alias
        image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        size = (image.shape[1], image.shape[0])
        crack = cv2.resize((label == 255).astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA)
        nearest = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
        label = np.where((crack > 64) & (nearest != 128), 255, nearest).astype(np.uint8)
        scale = 1.0
    height, width = image.shape[:2]
    half = out_px / 2 / scale
    centre = [rng.uniform(half, edge - half) if half < edge - half else edge / 2 for edge in (width, height)]
    angle = np.deg2rad(90 * rng.integers(4) + rng.uniform(-MAX_TILT_DEG, MAX_TILT_DEG))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[cos * mirror, -sin, 0.0], [sin * mirror, cos, 0.0]])
    matrix[:, 2] = out_px / 2 - matrix[:, :2] @ centre
    size = (out_px, out_px)
    view = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    seen = cv2.warpAffine(label, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(view, np.uint8), np.asarray(seen, np.uint8)
