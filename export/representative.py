"""The pictures from which the converter reads the ranges of activations.

They are 448 px wide, because a frame's cells see their surroundings and a tile's see padding: mosaics of four tiles,
two with cracks and two without where the set has both, or pieces of larger photographs. Every set counts the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from crackedge.benchmarks.card_calibration import first_half
from crackedge.benchmarks.data_sets import CRACK, Entry, LabelledSet, pictures
from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.errors import OptionError, ProofError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.lattice import TILE
from crackedge.edge_runtime.sources.addresses import find_addresses
from crackedge.edge_runtime.sources.opening import open_source
from crackedge.edge_runtime.sources.source import Skipped

SIDE = 2 * TILE  # px
FEWEST_FRAMES = 16
LEAST_CORRELATION = 0.3  # of neighbouring pixels; photographs have 0.9 and more, noise none


@dataclass(frozen=True, slots=True, eq=False)
class Representative:
    """Pictures to calibrate on.

    Attributes:
        pictures: each (448, 448, 3) uint8 RGB.
        source: where they come from, for the card.
    """

    pictures: tuple[Image, ...]
    source: str

    def tiles(self) -> tuple[Image, ...]:
        """The same as (224, 224, 3), for networks that take nothing else; four of each picture."""
        corners = [(y, x) for y in (0, TILE) for x in (0, TILE)]
        return tuple(picture[y : y + TILE, x : x + TILE] for picture in self.pictures for y, x in corners)


def from_sets(sets: Sequence[LabelledSet], wanted: int) -> Representative:
    """About ``wanted`` pictures of labelled sets, of the half of their files that also gives the calibration.

    Raises:
        ProofError: the sets give one class alone, or pictures that are no photographs.
    """
    share = max(1, wanted // max(1, len(sets)))
    made: list[Image] = []
    classes: set[bool] = set()
    for one in sets:
        found, labels = _pictures_of(one, share)
        made += found
        classes |= labels
    names = ", ".join(one.name for one in sets) or "no set"
    if len(classes) < 2:
        what = "only tiles with cracks" if True in classes else "no tile with a crack"
        raise ProofError(f"calibration from {names}: {what}; quantisation needs both classes, give sets that have them")
    _require_photographs(made, names)
    return Representative(tuple(made), f"first half of the validation photographs of {names}")


def from_footage(text: str, wanted: int) -> Representative:
    """``wanted`` pictures from the user's own footage, evenly over its frames; a video is decoded twice.

    Some are made darker, some brighter: one flight has one light, and the next another.

    Args:
        text: a video, an image folder, whatever :func:`crackedge.edge_runtime.open_source` takes, but not live.
        wanted: how many pictures; a short clip gives several of a frame.

    Raises:
        OptionError: a camera or stream.
        SourceError: it cannot be read.
        ProofError: it has fewer than 16 frames, or frames that are no photographs.
    """
    for address in find_addresses(text):
        if address.kind in ("camera", "stream"):
            raise OptionError(f"{address.uri}: a live source; calibrate from a file, which is the same the next time")
    with open_source(text) as source:
        count = sum(1 for _ in source)
    if count < FEWEST_FRAMES:
        raise ProofError(f"{text}: {count} frames; calibration needs at least {FEWEST_FRAMES}, give a longer video")
    kept = _kept(count, wanted)
    numbers = {index: range(place, wanted, len(kept)) for place, index in enumerate(kept)}
    with open_source(text) as source:  # once more: hundreds of whole frames may be more than the memory
        pieces = {
            number: _piece(frame.image, number)
            for index, frame in enumerate(source)
            for number in numbers.get(index, ())
        }
    made = [pieces[number] for number in sorted(pieces)]
    _require_photographs(made, text)
    made = [_lit(piece, (1.0, 0.6, 1.0, 1.4)[number % 4]) for number, piece in enumerate(made)]
    return Representative(tuple(made), f"{wanted} pieces of {len(kept)} of the {count} frames of {source.name}")


def _kept(count: int, wanted: int) -> list[int]:
    """Which of so many frames give pieces: at most ``wanted``, evenly over them."""
    step = 1
    while len(range(0, count, step)) > 2 * wanted:
        step *= 2
    frames = range(0, count, step)
    few = min(wanted, len(frames))
    return [frames[number * len(frames) // few] for number in range(few)]


def _pictures_of(one: LabelledSet, share: int) -> tuple[list[Image], set[bool]]:
    """A set's pictures, and which classes they show."""
    pools: dict[bool, list[Image]] = {True: [], False: []}
    large: list[Image] = []
    classes: set[bool] = set()
    half = first_half([one.file(entry) for entry in one.items])
    first = [entry for entry, chosen in zip(one.items, half, strict=True) if chosen]
    few = dataclasses.replace(one, items=_spread(first, 4 * share))
    skipped: list[Skipped] = []
    for _, picture in pictures(few, skipped):
        if min(picture.image.shape[:2]) >= SIDE:
            y, x = _corner(picture.image, len(large))
            large.append(picture.image[y : y + SIDE, x : x + SIDE].copy())  # a view would keep the photograph
            if picture.truth is not None:
                classes.add(bool((picture.truth[y : y + SIDE, x : x + SIDE] == CRACK).any()))
            continue
        for window in picture.windows[:2]:
            tile = picture.image[window.y : window.y + TILE, window.x : window.x + TILE]
            pools[window.crack].append(tile.copy())
            classes.add(window.crack)
    made = large[:: max(1, len(large) // share)][:share]
    both = [pool for pool in (pools[True], pools[False]) if pool]
    taken = [0] * len(both)
    for number in range(min(share - len(made), -(-sum(map(len, both)) // 4))):
        tiles = []
        for place in range(4):
            which = (number + place + place // 2) % len(both)  # on the diagonals, which change places
            tiles.append(both[which][taken[which] % len(both[which])])
            taken[which] += 1
        made.append(np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])]))
    return made, classes


def _spread(items: Sequence[Entry], wanted: int) -> tuple[Entry, ...]:
    """At most ``wanted``, evenly over the list."""
    count = min(wanted, len(items))
    return tuple(items[number * len(items) // count] for number in range(count))


def _corner(image: Image, number: int) -> tuple[int, int]:
    """Top and left of a 448 px piece; one after the other they wander over the frame."""
    height, width = image.shape[:2]
    return int((height - SIDE) * (number * 0.618 % 1)), int((width - SIDE) * (number * 0.755 % 1))


def _piece(frame: Image, number: int) -> Image:
    height, width = frame.shape[:2]
    if min(height, width) < SIDE:
        room = np.empty((max(SIDE, height), max(SIDE, width), 3), np.uint8)
        lattice.pad_into(frame, room)
        frame = room
    y, x = _corner(frame, number)
    return frame[y : y + SIDE, x : x + SIDE].copy()


def _lit(picture: Image, gain: float) -> Image:
    return picture if gain == 1.0 else np.asarray(cv2.convertScaleAbs(picture, alpha=gain), np.uint8)


def _require_photographs(made: Sequence[Image], origin: str) -> None:
    """Refuse noise, and pictures with nothing on them."""
    found = [_neighbours(picture) for picture in made]
    middle = float(np.median(found)) if found else 0.0
    if middle < LEAST_CORRELATION:
        raise ProofError(
            f"calibration from {origin}: neighbouring pixels have a correlation of {middle:.2f}, photographs more than "
            f"{LEAST_CORRELATION}: noise, or blank pictures; give real photographs or footage"
        )


def _neighbours(picture: Image) -> float:
    """Correlation of pixels with those right of them; 0 for a picture of one colour."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    left, right = grey[:, :-1].ravel(), grey[:, 1:].ravel()
    if min(left.std(), right.std()) < 1e-3:
        return 0.0
    return float(np.corrcoef(left, right)[0, 1])
