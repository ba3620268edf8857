"""Areas: where in a frame cracks are looked for, by polygons in a small JSON file."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.errors import OptionError, SourceError

Unit = Literal["pixel", "fraction"]
Polygon = tuple[tuple[float, float], ...]

_KEYS = ("region", "ignore", "unit")
_MOST_PX = 100_000.0


@dataclass(frozen=True, slots=True)
class Area:
    """Inside one of the region's polygons, if there are any, and outside all that are to be ignored.

    Attributes:
        region: polygons of x, y on the frame as displayed; none stands for the whole frame.
        ignore: the same.
        unit: ``"pixel"``, or ``"fraction"`` of width and height.
    """

    region: tuple[Polygon, ...] = ()
    ignore: tuple[Polygon, ...] = ()
    unit: Unit = "pixel"

    def cells(self, frame_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """(rows, cols) of the frame's lattice: cells at least half of whose visible part lies in the area.

        Args:
            frame_hw: height and width in pixels. The last few sizes are remembered.

        Raises:
            OptionError: nothing of such a frame lies in the area.
        """
        return _cells(self, frame_hw)


def read_area(path: Path) -> Area:
    """Read ``{"region": [[[x, y], ...], ...], "ignore": [...], "unit": "pixel" or "fraction"}``; each may be left out.

    Raises:
        SourceError: the file cannot be read.
        OptionError: it says something else.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); give a JSON file of polygons") from error
    except ValueError as error:
        raise OptionError(f"{path}: not a JSON file ({error})") from error
    if not isinstance(content, dict):
        raise OptionError(f"{path}: expected an object with some of {', '.join(_KEYS)}")
    if unknown := [key for key in content if key not in _KEYS]:
        raise OptionError(f"{path}: key {unknown[0]!r}: expected some of {', '.join(_KEYS)}")
    unit = content.get("unit", "pixel")
    if unit not in get_args(Unit):
        raise OptionError(f"{path}: unit {unit!r}: expected {' or '.join(get_args(Unit))}")
    region, ignore = (_polygons(path, key, content.get(key, []), unit) for key in ("region", "ignore"))
    if not (region or ignore):
        raise OptionError(f"{path}: no polygon in it; expected some under region or ignore")
    return Area(region, ignore, unit)


def _polygons(path: Path, key: str, value: Any, unit: Unit) -> tuple[Polygon, ...]:
    if not isinstance(value, list):
        raise OptionError(f"{path}: {key}: expected a list of polygons, [[[x, y], ...], ...]")
    return tuple(_polygon(f"{path}: {key}, polygon {number}", one, unit) for number, one in enumerate(value, 1))


def _polygon(where: str, value: Any, unit: Unit) -> Polygon:
    if not isinstance(value, list) or not all(isinstance(point, list) and len(point) == 2 for point in value):
        raise OptionError(f"{where}: expected a list of points, [[x, y], ...]")
    if len(value) < 3:
        raise OptionError(f"{where}: {len(value)} points; expected at least 3")
    most = 1.0 if unit == "fraction" else _MOST_PX
    for coordinate in (coordinate for point in value for coordinate in point):
        if isinstance(coordinate, bool) or not isinstance(coordinate, int | float) or not math.isfinite(coordinate):
            raise OptionError(f"{where}: {json.dumps(coordinate)}: expected a number")
        if not (0 <= coordinate <= most):
            hint = "" if unit == "fraction" else '; fractions need "unit": "fraction"'
            raise OptionError(f"{where}: {coordinate:g}: expected 0 to {most:g}{hint}")
    return tuple((float(x), float(y)) for x, y in value)


@functools.lru_cache(maxsize=4)
def _cells(area: Area, frame_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    height, width = frame_hw
    padded_height, padded_width = lattice.padded_hw(height, width)
    inside = np.zeros((padded_height, padded_width), np.uint8)
    inside[:height, :width] = not area.region
    scale = (width, height) if area.unit == "fraction" else (1, 1)
    for polygons, value in ((area.region, 1), (area.ignore, 0)):
        for polygon in polygons:
            inside[:height, :width][_filled(np.asarray(polygon) * scale, frame_hw)] = value
    visible = np.zeros_like(inside)
    visible[:height, :width] = 1
    shares, of = (_sums(pixels) for pixels in (inside, visible))
    cells = (of > 0) & (2 * shares >= of)
    if not cells.any():
        what = f"region of interest: nothing of a frame of {width}x{height} lies in it"
        if inside.any():
            raise OptionError(f"{what} but less than half of any cell of {lattice.CELL} px; make it larger")
        unit = "its fractions" if area.unit == "fraction" else "its pixels"
        raise OptionError(f"{what}; expected {unit} to be those of the frame as displayed, turned and mirrored")
    cells.flags.writeable = False  # it is shared
    return cells


def _filled(corners: npt.NDArray[np.float64], frame_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(H, W): pixels whose middle lies in a polygon, by the even-odd rule. cv2.fillPoly draws its outline too.

    Args:
        corners: (N, 2) x, y; a whole number is the edge between two pixels.
        frame_hw: height and width in pixels.
    """
    height, width = frame_hw
    crossed = np.zeros((height, width + 1), np.uint8)  # whether an edge passes between a pixel's middle and the last's
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        first, last = (min(max(math.ceil(y - 0.5), 0), height) for y in sorted((y0, y1)))
        if first < last:
            rows = np.arange(first, last)
            x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            crossed[rows, np.clip(np.ceil(x - 0.5), 0, width).astype(np.intp)] ^= 1
    return np.bitwise_xor.accumulate(crossed, axis=1)[:, :width].astype(np.bool_)


def _sums(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """(rows, cols): how many pixels of each cell are set."""
    rows, cols = pixels.shape[0] // lattice.CELL, pixels.shape[1] // lattice.CELL
    return cast("npt.NDArray[np.int64]", pixels.reshape(rows, lattice.CELL, cols, lattice.CELL).sum((1, 3), np.int64))
