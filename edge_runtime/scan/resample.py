"""Scale: frames enlarged or reduced before the scan, and their scores brought back to the frame's own lattice.

Whatever the scale, results speak of the source: its pixels, its cells of 32 px, its windows of 224 px. A cell takes the
highest logit of the scanned cells whose centre is nearest to its own, or to whose centre its own is nearest; a window
does so with windows. Enlarged, a frame has several scanned cells to a cell, and each counts in one place; reduced,
several cells share one. Several scales are fused by the highest logit again: a crack needs to look right at one scale
only, and a mean would let the scales that cannot see it outvote the one that can (docs/adr/0012).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.models.card import ModelCard
from crackedge.edge_runtime.scan.scoremap import ScoreMap

SMALLEST, LARGEST = 0.1, 8.0
MOST_SCALES = 4


def check_scales(scale: float | Sequence[float]) -> tuple[float, ...]:
    """The scales asked for, one or several, in rising order.

    Raises:
        OptionError: one of them cannot be used, or there are none or too many.
    """
    scales = tuple(sorted({float(one) for one in np.atleast_1d(np.asarray(scale, np.float64))}))
    if not 1 <= len(scales) <= MOST_SCALES:
        raise OptionError(f"{len(scales)} scales: expected 1 to {MOST_SCALES}")
    for one in scales:
        if not SMALLEST <= one <= LARGEST:
            raise OptionError(f"scale {one:g}: expected {SMALLEST:g} to {LARGEST:g}")
    return scales


def scale_for(gsd_mm: float, card: ModelCard) -> float:
    """By how much to enlarge footage so that cracks look as in training: as little as brings it into the card's range.

    Args:
        gsd_mm: ground sample distance of the footage, millimetres of the surface to a pixel.
        card: of the model.

    Raises:
        OptionError: it is no distance, or the card does not say what the model was trained at, or the scale would be
            out of range.
    """
    if not (math.isfinite(gsd_mm) and gsd_mm > 0):
        raise OptionError(f"ground sample distance {gsd_mm:g} mm: expected millimetres per pixel, more than 0")
    if card.gsd_mm is None:
        raise OptionError(
            f"ground sample distance {gsd_mm:g} mm: the card of model {card.name} does not say at what distance it was "
            "trained (gsd_mm); give a scale instead"
        )
    finest, coarsest = card.gsd_mm
    scale = gsd_mm / min(max(gsd_mm, finest), coarsest)
    if not SMALLEST <= scale <= LARGEST:
        raise OptionError(
            f"ground sample distance {gsd_mm:g} mm: model {card.name} was trained at {finest:g} to {coarsest:g} mm per "
            f"pixel, which asks for scale {scale:.3g}; expected {SMALLEST:g} to {LARGEST:g}"
        )
    return scale


def resampled(image: Image, scale: float, out: Image | None = None) -> Image:
    """The frame at another scale, at least one pixel each way: averaged when reduced, interpolated when enlarged.

    Args:
        image: (H, W, 3) uint8.
        scale: by how much to enlarge it.
        out: what an earlier call gave; written into where it has the right size.
    """
    height, width = (max(1, round(edge * scale)) for edge in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    if out is not None and (out.shape[:2] != (height, width) or np.shares_memory(out, image)):
        out = None
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(image), (width, height), dst=out, interpolation=way), np.uint8)


def on_source(scores: ScoreMap, *, scanned_hw: tuple[int, int], source_hw: tuple[int, int], step: int) -> ScoreMap:
    """The score map of a resampled frame on the lattice of its source.

    Args:
        scores: of the resampled frame.
        scanned_hw: its height and width in pixels.
        source_hw: those of the source.
        step: cells between windows.
    """
    cell_pairs, window_pairs, starts = _cell_pairs(scanned_hw, source_hw), [], []
    for axis, cells in enumerate(lattice.cells_hw(*source_hw)):
        starts.append(lattice.window_starts(cells, step))
        middle = lattice.TILE / 2
        middles = ((scores.ys, scores.xs)[axis] + middle) * source_hw[axis] / scanned_hw[axis]
        window_pairs.append(_neighbours(starts[axis] * lattice.CELL + middle, middles))
    return ScoreMap(
        cell_logits=_highest(scores.cell_logits, *cell_pairs),
        cell_scores=_highest(scores.cell_scores, *cell_pairs),
        window_logits=_highest(scores.window_logits, *window_pairs),
        window_scores=_highest(scores.window_scores, *window_pairs),
        xs=starts[1] * lattice.CELL,
        ys=starts[0] * lattice.CELL,
    )


def cells_on_source(
    cells: npt.NDArray[np.bool_], *, scanned_hw: tuple[int, int], source_hw: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Cells of a resampled frame, (rows, cols) bool, on the lattice of its source; sizes as for :func:`on_source`."""
    return _highest(cells.astype(np.float32), *_cell_pairs(scanned_hw, source_hw)) > 0


def fused(maps: Sequence[ScoreMap]) -> ScoreMap:
    """The highest of every cell and window over score maps of one frame on one lattice."""
    if len(maps) == 1:
        return maps[0]
    return ScoreMap(
        cell_logits=np.maximum.reduce([one.cell_logits for one in maps]),
        cell_scores=np.maximum.reduce([one.cell_scores for one in maps]),
        window_logits=np.maximum.reduce([one.window_logits for one in maps]),
        window_scores=np.maximum.reduce([one.window_scores for one in maps]),
        xs=maps[0].xs,
        ys=maps[0].ys,
    )


def _cell_pairs(scanned_hw: tuple[int, int], source_hw: tuple[int, int]) -> list[list[npt.NDArray[np.intp]]]:
    """For rows and for columns: which scanned cells each cell of the source goes by."""
    pairs = []
    for scanned_px, source_px in zip(scanned_hw, source_hw, strict=True):
        scanned = (np.arange(-(-scanned_px // lattice.CELL)) + 0.5) * lattice.CELL * source_px / scanned_px
        pairs.append(_neighbours((np.arange(lattice.cells_hw(source_px, source_px)[0]) + 0.5) * lattice.CELL, scanned))
    return pairs


def _neighbours(centres: npt.NDArray[np.floating], scanned: npt.NDArray[np.floating]) -> list[npt.NDArray[np.intp]]:
    """For each of ``centres``, which of ``scanned`` it is nearest to, or is the nearest of; along one axis."""
    distance = np.abs(centres[:, None] - scanned)
    paired = np.zeros(distance.shape, bool)
    paired[np.arange(len(centres)), distance.argmin(1)] = True
    paired[distance.argmin(0), np.arange(len(scanned))] = True
    return [np.flatnonzero(row) for row in paired]


def _highest(
    values: npt.NDArray[np.float32], rows: Sequence[npt.NDArray[np.intp]], cols: Sequence[npt.NDArray[np.intp]]
) -> npt.NDArray[np.float32]:
    down = np.stack([values[row].max(0) for row in rows])
    return np.ascontiguousarray(np.stack([down[:, col].max(1) for col in cols], axis=1))
