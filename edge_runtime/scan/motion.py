"""How the picture moved between two frames: a similarity (shift, rotation, zoom) with a confidence.

Corners of a small grey picture, one for each block of it so that they are spread, are followed by pyramidal
Lucas-Kanade flow (Bouguet 2001), and a similarity is fitted to them by RANSAC with a fixed seed: equal frames in,
equal motion out. A similarity and not a shift, because a drone turns by a few hundredths of a degree a frame, which
at the border of a 1080p frame is two pixels, and after ten frames half a cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.frame import Image

CONFIDENT = 0.6  # from here on a map may be carried

Matrix = npt.NDArray[np.float64]  # (2, 3): x, y of the later frame = matrix @ (x, y, 1) of the earlier one, pixels

_SMALL_PX = 480  # longest side of the small picture
_LEAST_SIDE_PX = 24  # of the small picture: below it there is nothing to follow
_BLOCKS = 14  # corners along the longer side, at most
_LEAST_POINTS = 12
_LEAST_CORNER = 1e-6  # OpenCV's measure of a corner: steps of about one grey level
_WINDOW_PX, _LEVELS = 15, 3  # of the flow: moves of a fifth of the picture are followed
_AGREE_PX = 3.0  # of the frame: a corner that the similarity misses by less agrees; a cell is ten times as wide
_STILL_PX = 0.25  # of the frame: what moves by less at every corner has not moved
_EQUAL = 0.75  # grey levels of mean difference: that much the noise of a still camera makes
_TURN_RAD = 0.05  # between two scans: a network trained on all directions still answers otherwise
_ZOOM = 0.05
_BLUR = 0.7  # share of its sharpness that a picture may lose (or win) and be the same picture still
_SAMPLED = 8  # of how many rows and columns one is looked at for sharpness


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What is kept of a frame, to align later ones with it.

    Attributes:
        grey: (h, w) uint8, the frame made smaller by a whole factor.
        factor: pixels of the frame for one of ``grey``.
        size_hw: of the frame in pixels.
        sharpness: mean step between neighbouring pixels of the frame, along x and along y, grey levels.
    """

    grey: npt.NDArray[np.uint8]
    factor: int
    size_hw: tuple[int, int]
    sharpness: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """How the picture moved from an earlier to a later frame.

    Attributes:
        matrix: (2, 3) float64, from pixels of the earlier frame to those of the later one.
        confidence: 0 to 1; below :data:`CONFIDENT` the matrix is worth nothing.
        reason: why the confidence is low, in a word or two; empty where it is not.
    """

    matrix: Matrix
    confidence: float
    reason: str = ""

    @property
    def still(self) -> bool:
        """Whether nothing moved: the matrix is the identity itself."""
        return bool((self.matrix == _identity()).all())


def view_of(image: Image) -> View:
    """The view of an (H, W, 3) uint8 RGB frame."""
    height, width = image.shape[:2]
    factor = max(1, -(-max(height, width) // _SMALL_PX))
    rows, cols = max(1, height // factor), max(1, width // factor)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[: rows * factor, : cols * factor]  # before: one channel to average
    small = np.asarray(cv2.resize(grey, (cols, rows), interpolation=cv2.INTER_AREA), np.uint8)
    return View(small, factor, (height, width), _sharpness(image))


def corners(view: View) -> npt.NDArray[np.float32]:
    """(N, 1, 2) float32: x, y of the best corner of each block of the small picture, where there is one."""
    height, width = view.grey.shape
    if min(height, width) < _LEAST_SIDE_PX:
        return np.empty((0, 1, 2), np.float32)
    edge = max(8, -(-max(height, width) // _BLOCKS))
    strength = cv2.cornerMinEigenVal(view.grey, 5)
    rows, cols = height // edge, width // edge
    blocks = strength[: rows * edge, : cols * edge].reshape(rows, edge, cols, edge).swapaxes(1, 2)
    flat = blocks.reshape(rows, cols, edge * edge)
    best, best_at = flat.max(2), flat.argmax(2)
    row, col = np.nonzero(best > max(_LEAST_CORNER, 0.1 * float(np.median(best))))
    y, x = np.divmod(best_at[row, col], edge)
    return np.stack([col * edge + x, row * edge + y], 1).astype(np.float32)[:, None]


def find_motion(earlier: View, later: View, points: npt.NDArray[np.float32], *, guess: Matrix | None = None) -> Motion:
    """How the picture moved from an earlier to a later frame.

    Args:
        earlier: view of the earlier frame.
        later: view of the later frame.
        points: :func:`corners` of the earlier view.
        guess: about what to expect, such as the motion so far; none is nothing moved.
    """
    if earlier.size_hw != later.size_hw:
        return _unknown("size")
    difference = float(cv2.absdiff(earlier.grey, later.grey).mean())
    if difference == 0.0:
        return Motion(_identity(), 1.0)
    if len(points) < _LEAST_POINTS:  # a blank wall: nothing to follow, but to see that nothing moved one need not
        return Motion(_identity(), 1.0) if difference < _EQUAL else _unknown("no texture")
    expected = _scaled(_identity() if guess is None else guess, 1 / earlier.factor)
    starts = np.asarray(cv2.transform(points, expected), np.float32)
    found, status, _ = cv2.calcOpticalFlowPyrLK(
        earlier.grey,
        later.grey,
        points,
        starts.copy(),
        winSize=(_WINDOW_PX, _WINDOW_PX),
        maxLevel=_LEVELS,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    height, width = later.grey.shape
    expectable = (starts[:, 0] >= 0).all(1) & (starts[:, 0] < (width, height)).all(1)  # others have left the picture
    followed = (status[:, 0] > 0) & expectable
    if int(followed.sum()) < _LEAST_POINTS:
        return _unknown("cut")
    matrix, agreeing = cv2.estimateAffinePartial2D(
        points[followed], found[followed], method=cv2.RANSAC, ransacReprojThreshold=max(0.5, _AGREE_PX / earlier.factor)
    )
    if matrix is None:  # type: ignore[unreachable, unused-ignore] # OpenCV's own types leave that out
        return _unknown("cut")  # type: ignore[unreachable, unused-ignore]
    agreement = float(agreeing.sum()) / float(expectable.sum())
    turn, zoom = float(np.arctan2(matrix[1, 0], matrix[0, 0])), float(np.hypot(matrix[0, 0], matrix[1, 0]))
    kept = min(min(a, b) / max(a, b, 1e-6) for a, b in zip(earlier.sharpness, later.sharpness, strict=True))
    doubts = {
        "cut": agreement,
        "rotation": _falling(abs(turn), _TURN_RAD),
        "zoom": _falling(abs(float(np.log(max(zoom, 1e-6)))), _ZOOM),
        "blur": min(1.0, CONFIDENT * kept / _BLUR) if kept < _BLUR else 1.0,
    }
    reason = min(doubts, key=lambda name: doubts[name])
    confidence = doubts[reason]
    full = _settled(_scaled(np.asarray(matrix, np.float64), earlier.factor), later.size_hw)
    return Motion(full, confidence, reason if confidence < CONFIDENT else "")


def changes(earlier: View, later: View, matrix: Matrix) -> npt.NDArray[np.float32]:
    """How much each cell of the later frame differs from the earlier one, laid over it; grey levels.

    A change of light is none: brightness that changes over the whole picture alike does not count.

    Returns:
        (rows, cols) float32 on the frame's lattice; 0 where the earlier frame does not reach.
    """
    height, width = later.grey.shape
    small = _scaled(matrix, 1 / later.factor)
    over = cv2.warpAffine(earlier.grey, small, (width, height), flags=cv2.INTER_LINEAR).astype(np.float32)
    there = cv2.warpAffine(np.ones((height, width), np.float32), small, (width, height)) > 0.999
    difference = np.where(there, later.grey - over, np.float32(0))
    counts = _cell_sums(there.astype(np.float32), later)
    full = counts > 0
    counts = np.maximum(counts, 1)
    means = _cell_sums(difference, later) / counts
    spread = np.sqrt(np.maximum(_cell_sums(difference * difference, later) / counts - means * means, 0))
    drift = np.abs(means - np.median(means[full])) if full.any() else means
    return np.where(full, np.maximum(spread, drift / 2), 0).astype(np.float32)


def _cell_sums(values: npt.NDArray[np.float32], view: View) -> npt.NDArray[np.float32]:
    """Sums of a small picture over the cells of the frame's lattice, (rows, cols); 0 beyond the frame."""
    rows, cols = lattice.cells_hw(*view.size_hw)
    sums = np.zeros((rows, cols), np.float32)
    starts = [np.arange(0, size, lattice.CELL / view.factor).astype(np.intp) for size in values.shape]
    inner = np.add.reduceat(np.add.reduceat(values, starts[0], axis=0), starts[1], axis=1)[:rows, :cols]
    sums[: inner.shape[0], : inner.shape[1]] = inner
    return sums


def _sharpness(image: Image) -> tuple[float, float]:
    """Mean step between neighbours along x and along y, green; of every eighth row and column, the median of them.

    Something new with sharp edges is in some of them, blur is in all.
    """
    along_x, along_y = image[::_SAMPLED, :, 1].astype(np.int16), image[:, ::_SAMPLED, 1].astype(np.int16)
    steps = np.abs(np.diff(along_x, axis=1)), np.abs(np.diff(along_y, axis=0))
    x, y = (float(np.median(one.mean(axis))) if one.size else 0.0 for axis, one in ((1, steps[0]), (0, steps[1])))
    return x, y


def _falling(value: float, bound: float) -> float:
    """1 for nothing, CONFIDENT at the bound, 0 far beyond."""
    return max(0.0, 1.0 - (1.0 - CONFIDENT) * value / bound)


def _settled(matrix: Matrix, size_hw: tuple[int, int]) -> Matrix:
    """The matrix, or the identity itself where no corner of the frame moves."""
    height, width = size_hw
    ends = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float64)
    moved = np.abs(ends @ (matrix - _identity()).T).max()
    return _identity() if moved < _STILL_PX else matrix


def _scaled(matrix: Matrix, factor: float) -> Matrix:
    """The same motion in pixels ``factor`` times smaller; pixel centres are whole numbers."""
    offset = np.full(2, (factor - 1) / 2)
    linear, shift = matrix[:, :2], matrix[:, 2]
    return np.hstack([linear, (factor * shift + offset - linear @ offset)[:, None]])


def _unknown(reason: str) -> Motion:
    return Motion(_identity(), 0.0, reason)


def _identity() -> Matrix:
    return np.eye(2, 3)
