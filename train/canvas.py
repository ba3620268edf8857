"""Training canvases: pictures larger than a tile, each with what is known of its pixels, windows and cells.

A label is (H, W) uint8: 0 no crack, 255 crack, 128 not known. A *weak* view is one of which only the whole is known to
hold a crack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from crackedge.benchmarks.data_sets import CRACK_PIXELS, MARGIN
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.lattice import CELL, TILE, WINDOW_CELLS, window_means

Label = npt.NDArray[np.uint8]

CRACK, UNKNOWN, CLEAR = 255, 128, 0
TILE_CRACK_PX = 200  # crack pixels anywhere that make a whole tile a crack
CELL_CRACK_PX = 12  # crack pixels that make a cell a crack; one with fewer teaches nothing


@dataclass(frozen=True, slots=True)
class View:
    """A square picture and its label.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        label: (S, S) uint8: 0 no crack, 255 crack, 128 not known.
        weak_crack: the picture as a whole holds a crack, somewhere.
        smoothing: how much of the target's certainty is taken back, for data sets with label noise.
    """

    image: Image
    label: Label
    weak_crack: bool = False
    smoothing: float = 0.0


def mosaic(views: Sequence[View]) -> tuple[View, npt.NDArray[np.float32]]:
    """Four tile-sized views as one canvas; the seams become lines that are not cracks.

    Returns:
        The canvas, and its targets, see :func:`targets`.
    """
    image = np.empty((2 * TILE, 2 * TILE, 3), np.uint8)
    label = np.empty((2 * TILE, 2 * TILE), np.uint8)
    for number, view in enumerate(views):
        row, column = divmod(number, 2)
        place = slice(row * TILE, (row + 1) * TILE), slice(column * TILE, (column + 1) * TILE)
        image[place], label[place] = view.image, view.label
    canvas = View(image, label)
    target, weight = _window_targets(label)
    for number, view in enumerate(views):
        row, column = (WINDOW_CELLS * place for place in divmod(number, 2))
        known = bool(weight[row, column])
        # Where masks are windowed, a crack at the very edge does not count; a photograph of a tile with one is a crack.
        crack = view.weak_crack or np.count_nonzero(view.label == CRACK) >= TILE_CRACK_PX
        if crack or known:
            truth = 1.0 if crack else float(target[row, column])
            target[row, column] = truth * (1 - 2 * view.smoothing) + view.smoothing
            weight[row, column] = 4.0  # a whole tile says more than one of 64 overlapping windows
    return canvas, _targets(target, weight, label)


def targets(view: View) -> npt.NDArray[np.float32]:
    """What is known of a canvas' windows and cells.

    Returns:
        (h, w, 4) float32, h and w in cells: probability and weight of the window whose first cell it is, then of the
        cell itself. The weights of the windows sum to 1 in a canvas with any known window, those of the cells likewise.
    """
    target, weight = _window_targets(view.label)
    if view.smoothing:
        target = target * (1 - 2 * view.smoothing) + view.smoothing
    if view.weak_crack and view.label.shape == (TILE, TILE):
        target[0, 0], weight[0, 0] = 1 - view.smoothing, 1.0
    return _targets(target, weight, view.label)


def _window_targets(label: Label) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Truth and weight of every window at stride 32; weight 0 where nothing is known.

    By the rule of evaluation, which leaves out what has a crack at its edge alone; with much of one it is a crack here.
    """
    crack = cv2.integral((label == CRACK).astype(np.uint8))
    anything = _cell_sums((label != CLEAR).astype(np.uint8))
    clear = window_means(anything) == 0
    rows, columns = clear.shape
    top, left = np.arange(rows)[:, None] * CELL, np.arange(columns)[None] * CELL

    def pixels(low: int, high: int) -> npt.NDArray[np.int32]:
        ends = crack[top + high, left + high] - crack[top + low, left + high]
        return np.asarray(ends - crack[top + high, left + low] + crack[top + low, left + low])

    cracked = (pixels(MARGIN, TILE - MARGIN) >= CRACK_PIXELS) | (pixels(0, TILE) >= TILE_CRACK_PX)
    return cracked.astype(np.float32), (cracked | clear).astype(np.float32)


def _targets(
    window: npt.NDArray[np.float32], window_weight: npt.NDArray[np.float32], label: Label
) -> npt.NDArray[np.float32]:
    crack = _cell_sums((label == CRACK).astype(np.uint8))
    near = np.asarray(cv2.dilate((label != CLEAR).astype(np.uint8), np.ones((9, 9), np.uint8)), np.uint8)
    clear = _cell_sums(near) == 0
    cracked = crack >= CELL_CRACK_PX
    rows, columns = crack.shape
    out = np.zeros((rows, columns, 4), np.float32)
    out[: window.shape[0], : window.shape[1], 0] = window
    out[: window.shape[0], : window.shape[1], 1] = window_weight / max(window_weight.sum(), 1.0)
    out[..., 2] = cracked
    known = cracked * 3.0 + clear  # cracked cells are the rare ones
    out[..., 3] = known / max(known.sum(), 1.0)
    return out


def _cell_sums(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Sum of the values in each 32x32 cell."""
    rows, columns = values.shape[0] // CELL, values.shape[1] // CELL
    return np.asarray(values.reshape(rows, CELL, columns, CELL).sum((1, 3), dtype=np.float32))


def transplant(image: Image, donor: Image, donor_mask: Label, rng: np.random.Generator) -> tuple[Image, Label]:
    """A real crack from one photograph, laid onto another that has none.

    What is carried over is how much darker the crack is than its own surroundings, so that it fits any surface.

    Args:
        image: (S, S, 3) uint8 RGB without a crack.
        donor: (S, S, 3) uint8 RGB.
        donor_mask: (S, S) uint8, 255 on the donor's crack.
        rng: source of chance.

    Returns:
        The image with the crack, and the crack's mask.
    """
    mask = (donor_mask == CRACK).astype(np.float32)
    surroundings = _surroundings(donor, cv2.dilate(mask, np.ones((7, 7), np.uint8)))
    ratio = np.clip((donor + 1.0) / (surroundings + 1.0), 0.05, 1.05)
    alpha = np.clip(cv2.GaussianBlur(cv2.dilate(mask, np.ones((3, 3), np.uint8)), (0, 0), 1.0), 0, 1)
    alpha = alpha * rng.uniform(0.6, 1.0)
    mixed = image * (1 + alpha[..., None] * (ratio - 1))
    return np.clip(mixed, 0, 255).astype(np.uint8), np.where(mask > 0, CRACK, CLEAR).astype(np.uint8)


def heal(image: Image, label: Label, rng: np.random.Generator) -> tuple[Image, Label]:
    """A photograph with its cracks covered by its own surface from close by: what it would look like sound.

    Photographs with masks all hold cracks. Without this, a network learns that their rough surfaces *are* the crack.

    Args:
        image: (H, W, 3) uint8 RGB.
        label: (H, W) uint8, 255 on the cracks.
        rng: source of chance.

    Returns:
        The image, and the label with 0 where the crack was covered; both as they were where that is not possible.
    """
    wound = cv2.dilate((label == CRACK).astype(np.uint8), np.ones((13, 13), np.uint8))
    light = _surroundings(image, wound.astype(np.float32)).astype(np.float32)
    healed = image.astype(np.float32)
    left = wound.copy()
    for _ in range(8):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(24, 90)
        shift = np.array([[1, 0, reach * np.cos(angle)], [0, 1, reach * np.sin(angle)]])
        moved = [
            cv2.warpAffine(plane, shift, plane.shape[1::-1], flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
            for plane in (image, wound, light)
        ]
        patch = (left > 0) & (moved[1] == 0)
        gain = np.clip(light[patch] / np.maximum(moved[2][patch], 1), 0.7, 1.4)
        healed[patch] = moved[0][patch] * gain
        left[patch] = 0
        if not left.any():
            break
    else:
        return image, label
    seam = cv2.GaussianBlur(wound.astype(np.float32), (0, 0), 1.5)[..., None]
    mixed = image * (1 - seam) + healed * seam
    return np.clip(mixed, 0, 255).astype(np.uint8), np.where(label == CRACK, CLEAR, label).astype(np.uint8)


def _surroundings(image: Image, hidden: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Local mean of what is not hidden; 255 where everything around is."""
    seen = 1 - np.asarray(hidden, np.float32)
    size = (31, 31)
    mean = cv2.blur(image * seen[..., None], size) / np.maximum(cv2.blur(seen, size), 1e-3)[..., None]
    return np.where(mean > 1, mean, 255)
