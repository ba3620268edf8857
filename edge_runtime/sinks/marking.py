"""Marking: crack regions drawn onto a picture, readable from 240 lines to 4K."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.scan.regions import Region

_COLOUR = (255, 45, 85)  # RGB; a red that concrete, asphalt, rust and brick do not have
_FILL = 0.22  # opacity: the crack stays visible under it
_OUTLINE = (0, 0, 0)
_TINTED = np.rint((1 - _FILL) * np.arange(256).reshape(1, 256, 1) + _FILL * np.array(_COLOUR)).astype(np.uint8)
_CAPITAL_OF_FONT = 0.7  # height of a capital in Pillow's default font, to its size
_MOST_LABELS = 40  # more would hide what they name

_Box = tuple[int, int, int, int]  # x0, y0, x1, y1


def mark(image: Image, regions: Sequence[Region], *, header: str | None = None) -> Image:
    """A copy of the picture with its crack regions: their cells tinted and outlined, their scores, and a headline.

    Args:
        image: (H, W, 3) uint8 RGB; left as it is.
        regions: in pixels of the image.
        header: the headline; the number of cracks unless given, none when empty.
    """
    marked = image.copy()
    height, width = marked.shape[:2]
    short_side = min(height, width)
    line_px = max(2, round(short_side / 320))
    capital_px = round(max(9.0, short_side * 0.023))
    for region in regions:
        _tint(marked, region)
    for region in regions:  # over the tint of all, so that neighbours do not dim them
        ring = [np.array(region.polygon, np.int32).clip(0, (width - 1, height - 1)).reshape(-1, 1, 2)]
        cv2.polylines(marked, ring, True, _OUTLINE, line_px + 2, cv2.LINE_8)
        cv2.polylines(marked, ring, True, _COLOUR, line_px, cv2.LINE_8)
    taken: list[_Box] = []
    headline = count_text(len(regions)) if header is None else header
    if headline:
        taken.append(_write(marked, _text(headline, round(capital_px * 1.25)), (0, 0)))
    for region in sorted(regions, key=lambda region: -region.score)[:_MOST_LABELS]:
        label = _text(f"{int(region.score * 100) / 100:.2f}", capital_px)  # cut, not rounded: 0.999 is not 1
        place = _place((label.shape[1], label.shape[0]), region, (width, height), taken)
        if place is not None:
            taken.append(_write(marked, label, place))
    return marked


class _Marked:
    """A frame's picture once it is marked."""

    def __init__(self, image: Image, regions: Sequence[Region]) -> None:
        key = id(image)
        self.image = weakref.ref(image, lambda _: _marked.pop(key, None))
        self.regions = regions
        self._lock = threading.Lock()
        self._picture: Image | None = None

    def picture(self, image: Image) -> Image:
        with self._lock:
            if self._picture is None:
                self._picture = mark(image, self.regions)
                self._picture.setflags(write=False)
            return self._picture


_marked: dict[int, _Marked] = {}  # by the identity of the frame's picture, as long as that lives
_marked_lock = threading.Lock()


def marked(image: Image, regions: Sequence[Region]) -> Image:
    """What :func:`mark` gives, made once for all threads that show this very picture with these very regions.

    Args:
        image: (H, W, 3) uint8 RGB, which nobody changes any more.
        regions: in pixels of the image.

    Returns:
        (H, W, 3) uint8 RGB, read-only.
    """
    with _marked_lock:
        known = _marked.get(id(image))
        if known is None or known.image() is not image or known.regions is not regions:
            known = _marked[id(image)] = _Marked(image, regions)
    return known.picture(image)


def count_text(regions: int) -> str:
    """``no crack``, ``1 crack``, ``3 cracks``."""
    return {0: "no crack", 1: "1 crack"}.get(regions, f"{regions} cracks")


def _tint(image: Image, region: Region) -> None:
    """Tint the region's cells in place, in runs of neighbours."""
    for row, first, last in _runs(region.cells):
        cells = image[row * lattice.CELL : (row + 1) * lattice.CELL, first * lattice.CELL : (last + 1) * lattice.CELL]
        if cells.size:
            cells[:] = cv2.LUT(cells, _TINTED)


def _runs(cells: Iterable[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Row, first and last column of each unbroken run of cells."""
    runs: list[tuple[int, int, int]] = []
    for row, col in sorted(cells):
        if runs and runs[-1][0] == row and runs[-1][2] == col - 1:
            runs[-1] = (row, runs[-1][1], col)
        else:
            runs.append((row, col, col))
    return runs


def _write(image: Image, text: npt.NDArray[np.float32], corner: tuple[int, int]) -> _Box:
    """Lay rendered text over the picture in place, cut off at the picture's edge; the box that it takes."""
    x, y = corner
    below = image[y : y + text.shape[0], x : x + text.shape[1]]
    text = text[: below.shape[0], : below.shape[1]]
    ink, opacity = text[..., :1], text[..., 1:]
    below[:] = np.rint(below * (1 - opacity) + ink * opacity)
    return x, y, x + below.shape[1], y + below.shape[0]


@functools.lru_cache(maxsize=512)
def _text(text: str, capital_px: int) -> npt.NDArray[np.float32]:
    """(H, W, 2) white text with a black outline and a margin around it: brightness 0 to 255, and opacity 0 to 1.

    By Pillow: OpenCV 4 and 5 write with different fonts, and only one of them can outline.
    """
    font = PIL.ImageFont.load_default(capital_px / _CAPITAL_OF_FONT)
    stroke = max(1, round(capital_px / 8))
    left, top, right, bottom = font.getbbox(text, stroke_width=stroke, anchor="ls")
    margin = max(1, capital_px // 4)
    size = (round(right - left) + 2 * margin, round(bottom - top) + 2 * margin)
    picture = PIL.Image.new("LA", size, (0, 0))
    PIL.ImageDraw.Draw(picture).text(
        (margin - left, margin - top), text, (255, 255), font, "ls", stroke_width=stroke, stroke_fill=(0, 255)
    )
    pixels = np.asarray(picture).astype(np.float32)
    pixels[..., 1] /= 255
    return pixels


def _place(
    size: tuple[int, int], region: Region, frame_wh: tuple[int, int], taken: Sequence[_Box]
) -> tuple[int, int] | None:
    """Where a label goes: above the region's first cell, under its last, or inside one; None where all is taken."""
    width, height = size
    (first_row, first_col), (_, last_col) = region.cells[0], region.cells[-1]
    first_x, first_y = first_col * lattice.CELL, first_row * lattice.CELL
    last_x, last_y = last_col * lattice.CELL, region.bbox[3]
    places = ((first_x, first_y - height), (last_x, last_y), (first_x, first_y), (last_x, last_y - height))
    for x, y in places:
        left = min(max(0, x), max(0, frame_wh[0] - width))
        top = min(max(0, y), max(0, frame_wh[1] - height))
        box = (left, top, left + width, top + height)
        if not any(_overlap(box, other) for other in taken):
            return left, top
    return None


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
