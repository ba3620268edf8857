"""The photographs of a training run: which there are, how often each is drawn, and what is known of its pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from crackedge.benchmarks.data_sets import (
    Entry,
    LabelledSet,
    find_sets,
    read_boxes,
    read_image,
    read_mask,
)
from crackedge.edge_runtime.errors import DataError
from crackedge.edge_runtime.frame import Image
from crackedge.train.canvas import CLEAR, CRACK, UNKNOWN, Label
from crackedge.train.recipe import Recipe, SetUse

_BOX_MARGIN_PX = 16  # boxes are drawn by eye


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph, read.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        label: (H, W) uint8: 0 no crack, 255 crack, 128 not known.
        weak_crack: it holds a crack, somewhere.
        use: how its set is used.
    """

    image: Image
    label: Label
    weak_crack: bool
    use: SetUse


@dataclass
class Corpus:
    """The training photographs of several data sets.

    Attributes:
        sets: the sets that are drawn from.
        uses: how each is used, in the same order.
        skipped: photographs that could not be read, found as they are drawn.
    """

    sets: tuple[LabelledSet, ...]
    uses: tuple[SetUse, ...]
    skipped: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Sort what can be drawn by what it shows."""
        share = np.array([use.weight for use in self.uses])
        self._share = share / share.sum()
        self._by_class = [
            tuple(
                entries
                for wanted in (True, False, None)
                if (entries := [entry for entry in labelled.items if entry.crack is wanted])
            )
            for labelled in self.sets
        ]
        self._masked = [
            number
            for number, labelled in enumerate(self.sets)
            if labelled.kind == "masks" and not self.uses[number].background_only
        ]
        self._wide = [number for number, labelled in enumerate(self.sets) if labelled.kind == "masks"]

    def draw(self, rng: np.random.Generator) -> Photo:
        """A photograph: the set by its weight, then the class evenly, then any."""
        return self._draw_from(int(rng.choice(len(self.sets), p=self._share)), rng)

    def draw_wide(self, rng: np.random.Generator) -> Photo:
        """A photograph whose pixels are labelled, for views wider than a tile; any, where there is none."""
        if not self._wide:
            return self.draw(rng)
        share = self._share[self._wide]
        return self._draw_from(int(rng.choice(self._wide, p=share / share.sum())), rng)

    def draw_donor(self, rng: np.random.Generator) -> Photo | None:
        """A photograph with a crack mask that can be trusted; None where there is none."""
        if not self._masked:
            return None
        return self._draw_from(self._masked[int(rng.integers(len(self._masked)))], rng)

    def _draw_from(self, number: int, rng: np.random.Generator) -> Photo:
        classes = self._by_class[number]
        entries = classes[int(rng.integers(len(classes)))]
        for _ in range(100):
            entry = entries[int(rng.integers(len(entries)))]
            try:
                return read_photo(entry, self.uses[number])
            except DataError as error:
                self.skipped[str(entry.image)] = str(error)
        raise DataError(f"{self.sets[number].path}: 100 images in a row could not be read; the last: {entry.image}")


def read_photo(entry: Entry, use: SetUse) -> Photo:
    """A photograph and what its set says of its pixels.

    Raises:
        DataError: the image, its mask or its boxes cannot be used.
    """
    image = read_image(entry.image)
    height, width = image.shape[:2]
    label = np.full((height, width), UNKNOWN, np.uint8)
    if entry.truth is None:
        if entry.crack is False:
            label[:] = CLEAR
    elif entry.crack is None:
        mask = read_mask(entry.truth)
        rows, columns = min(mask.shape[0], height), min(mask.shape[1], width)
        seen = label[:rows, :columns]
        seen[np.isin(mask[:rows, :columns], use.value_clear)] = CLEAR
        crack = (mask[:rows, :columns] == CRACK).astype(np.uint8)
        if use.background_only:
            seen[cv2.dilate(crack, np.ones((31, 31), np.uint8)) > 0] = UNKNOWN
        else:
            seen[crack > 0] = CRACK
    else:
        label[:] = CLEAR
        for x, y, w, h in read_boxes(entry.truth) * (width, height, width, height):
            top, left = int(y - h / 2) - _BOX_MARGIN_PX, int(x - w / 2) - _BOX_MARGIN_PX
            bottom, right = int(y + h / 2) + _BOX_MARGIN_PX, int(x + w / 2) + _BOX_MARGIN_PX
            label[max(0, top) : bottom, max(0, left) : right] = UNKNOWN
    return Photo(image, label, bool(entry.crack), use)


def gather(root: Path, recipe: Recipe) -> Corpus:
    """The training splits below ``root`` that the recipe gives a weight.

    Raises:
        DataError: none there, or nothing but one class in all of them.
    """
    found = [(labelled, recipe.use_of(labelled.base_name)) for labelled in find_sets(root, split="train")]
    used = [(labelled, use) for labelled, use in found if use.weight > 0]
    if not used:
        names = ", ".join(labelled.base_name for labelled, _ in found)
        raise DataError(f"{root}: recipe {recipe.name} gives no weight to any of its sets ({names})")
    _require_both_classes(root, used)
    return Corpus(tuple(labelled for labelled, _ in used), tuple(use for _, use in used))


def _require_both_classes(root: Path, used: list[tuple[LabelledSet, SetUse]]) -> None:
    positive = any(
        entry.crack or (entry.crack is None and not use.background_only)
        for labelled, use in used
        for entry in labelled.items
    )
    negative = any(not entry.crack or labelled.kind == "boxes" for labelled, _ in used for entry in labelled.items)
    if not (positive and negative):
        missing, present = ("crack", "no_crack") if not positive else ("no_crack", "crack")
        raise DataError(
            f"{root}: only {present} photographs; training needs {missing} too (a folder {missing}/, or masks)"
        )
