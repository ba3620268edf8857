"""The photographs of a training run: which there are, how often each is drawn, and what is known of its pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crackedge.benchmarks import data_sets
from crackedge.benchmarks.data_sets import (
    SPLITS,
    Entry,
    LabelledSet,
    find_sets,
    mask_truth,
    read_boxes,
    read_image,
    read_mask,
)
from crackedge.edge_runtime.errors import DataError
from crackedge.edge_runtime.frame import Image
from crackedge.train.canvas import CLEAR, CRACK, UNKNOWN, Label
from crackedge.train.leaks import find_copies
from crackedge.train.recipe import Recipe, SetUse
from crackedge.train.split import hold_out, shared_photos

_Used = tuple[LabelledSet, SetUse]

_BOX_MARGIN_PX = 16  # boxes are drawn by eye


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph, read.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        label: (H, W) uint8: 0 no crack, 255 crack, 128 not known.
        weak_crack: it holds a crack, somewhere.
        use: how its set is used.
        as_whole: its class is that of the whole photograph: no mask says more.
    """

    image: Image
    label: Label
    weak_crack: bool
    use: SetUse
    as_whole: bool = False


@dataclass
class Corpus:
    """The training photographs of several data sets.

    Attributes:
        sets: the sets that are drawn from.
        uses: how each is used, in the same order.
        held_out: the sets to validate with.
        split_inside: of each set that had no validation split, the files that are held out.
        leaks: what was done about photographs that are on both sides, as it stands in ``config.json``.
        notes: a sentence for each thing that was done to the splits.
        skipped: photographs that could not be read, found as they are drawn.
    """

    sets: tuple[LabelledSet, ...]
    uses: tuple[SetUse, ...]
    held_out: tuple[LabelledSet, ...] = ()
    split_inside: Mapping[str, Sequence[str]] = field(default_factory=dict)
    leaks: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
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

    @property
    def trained_on(self) -> frozenset[str]:
        """Names of the sets that are drawn from, without their splits."""
        return frozenset(labelled.base_name for labelled in self.sets)

    @property
    def has_masks(self) -> bool:
        """Whether there is a set whose pixels are labelled."""
        return bool(self._wide)

    def draw(self, rng: np.random.Generator) -> Photo:
        """A photograph: the set by its weight, then the class evenly, then any."""
        return self._draw_from(int(rng.choice(len(self.sets), p=self._share)), rng)

    def draw_wide(self, rng: np.random.Generator) -> Photo:
        """A photograph whose pixels are labelled, for views wider than a tile; only where there are masks."""
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
                self.skipped[str(entry.image)] = why = str(error)
        raise DataError(f"{self.sets[number].path}: 100 images in a row could not be read; the last: {why}")


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
        truth = mask_truth(mask, (height, width), origin=str(entry.truth), value_clear=use.value_clear or (0,))
        if 0 < mask.max() < data_sets.MASK_CRACK and not (use.value_clear or use.background_only):
            raise DataError(
                f"{entry.truth}: values up to {mask.max()}; expected {data_sets.MASK_CRACK} where there is a crack; or "
                "name what is clear by value_clear"
            )
        label[truth == data_sets.NO_CRACK] = CLEAR
        crack = (truth == data_sets.CRACK).astype(np.uint8)
        if use.background_only:
            label[cv2.dilate(crack, np.ones((31, 31), np.uint8)) > 0] = UNKNOWN
        else:
            label[crack > 0] = CRACK
    else:
        label[:] = CLEAR
        for x, y, w, h in read_boxes(entry.truth) * (width, height, width, height):
            top, left = int(y - h / 2) - _BOX_MARGIN_PX, int(x - w / 2) - _BOX_MARGIN_PX
            bottom, right = int(y + h / 2) + _BOX_MARGIN_PX, int(x + w / 2) + _BOX_MARGIN_PX
            label[max(0, top) : bottom, max(0, left) : right] = UNKNOWN
    weak_crack = bool(entry.crack) and not use.background_only
    return Photo(image, label, weak_crack, use, as_whole=entry.crack is not None)


def gather(
    root: Path,
    recipe: Recipe,
    *,
    allow_leak: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Corpus:
    """The photographs below ``root`` that the recipe gives a weight, and those to validate with, without leaks.

    ``train`` splits are trained on, or, where there is none, the sets without splits. What they hold of the photographs
    to validate with, as copies, is left out. Where there is nothing to validate with, the last fifth of each set is
    held out, by source photograph.

    Args:
        root: a data set or a folder of them.
        recipe: gives each set its weight and the pattern of its source photographs.
        allow_leak: accept sets whose splits share source photographs.
        progress: called with the number of photographs compared and of all.

    Raises:
        DataError: none there, nothing but one class in all of them, or splits that share source photographs.
        OptionError: the pattern of a set's source photographs does not match its files.
    """
    found = [(labelled, recipe.use_of(labelled.base_name)) for labelled in find_sets(root, split="train")]
    used = [(labelled, use) for labelled, use in found if use.weight > 0]
    if not used:
        names = ", ".join(labelled.base_name for labelled, _ in found)
        raise DataError(f"{root}: recipe {recipe.name} gives no weight to any of its sets ({names})")
    _require_both_classes(root, used)
    held_out = _held_out(root, used)
    notes = _misspelt(root, {one.base_name for one in (*(one for one, _ in found), *held_out)}, recipe)
    split_inside: dict[str, list[str]] = {}
    shared = _shared_photographs(root, used, held_out, recipe)
    if shared and not allow_leak:
        first = next(iter(shared.values()))
        raise DataError(f"{root}: {first}; part the splits by source photograph, or accept it with --allow-leak")
    notes += shared.values()
    if not held_out:
        parts = [hold_out(labelled, use.photo, origin=_photo_key(recipe, labelled)) for labelled, use in used]
        used = [(training, use) for (training, _), (_, use) in zip(parts, used, strict=True)]
        held_out = [held for _, held in parts]
        split_inside = {held.name: [held.file(entry) for entry in held.items] for held in held_out}
        notes += [
            f"{held.name}: no val/ folder, so {len(held.items)} of {len(training.items) + len(held.items)} photographs "
            "are held out, the last of each class by name"
            for training, held in parts
        ]
    else:
        notes += _one_sided(used, held_out, recipe)
    notes += _one_class(used, held_out)
    copies = find_copies([labelled for labelled, _ in used], held_out, progress=progress)
    if copies:
        used = _without({copy.training.image for copy in copies}, used)
        if not used:
            raise DataError(f"{root}: every training photograph is a copy of a held-out one; give others to train on")
        counts = Counter(copy.set_name for copy in copies)
        named = ", ".join(f"{name} {count}" for name, count in counts.items())
        notes.append(f"copies of held-out photographs, left out of training: {named}")
        _require_both_classes(root, used)
    return Corpus(
        tuple(labelled for labelled, _ in used),
        tuple(use for _, use in used),
        held_out=tuple(replace(held, value_clear=recipe.use_of(held.base_name).value_clear) for held in held_out),
        split_inside=split_inside,
        leaks={
            "allowed": allow_leak,
            "shared_photographs": shared,
            "copies_left_out": [
                {
                    "training": copy.training.image.relative_to(root).as_posix(),
                    "held_out": copy.held_out.image.relative_to(root).as_posix(),
                    "exact": copy.exact,
                }
                for copy in copies
            ],
        },
        notes=tuple(notes),
    )


def _one_sided(used: list[_Used], held_out: list[LabelledSet], recipe: Recipe) -> list[str]:
    """A sentence for each set that is trained on and not validated with, or the other way round."""
    trained = {one.base_name for one, _ in used}
    validated = {one.base_name for one in held_out}
    return [
        f"{one.base_name}: no val/ folder, so nothing says how good the network is there"
        for one, use in used
        if one.base_name not in validated and not use.background_only
    ] + [
        f"{one.base_name}: no train/ folder, which other sets have, so it is only validated with"
        for one in held_out
        if one.base_name not in trained and recipe.use_of(one.base_name).weight > 0
    ]


def _misspelt(root: Path, here: set[str], recipe: Recipe) -> list[str]:
    """A sentence where the recipe has tables of its own for sets that are not here: they have no effect."""
    missing = [name for name in recipe.own_tables if name not in here and not (root / name).is_dir()]
    keys = ", ".join(f"data.{name}" for name in missing)
    return [f"recipe {recipe.name}: {keys}: no such set here ({', '.join(sorted(here))})"] if missing else []


def _one_class(used: list[_Used], held_out: list[LabelledSet]) -> list[str]:
    """A sentence where no model can be calibrated on what is held out; masks may show both classes."""
    trained = {one.base_name for one, _ in used}
    fitting = [one for one in held_out if one.base_name in trained] or held_out
    shown = {entry.crack for one in fitting for entry in one.items}
    if None in shown or {True, False} <= shown:
        return []
    present, missing = ("crack", "no_crack") if True in shown else ("no_crack", "crack")
    return [
        f"{', '.join(one.base_name for one in fitting)}: only {present} photographs are held out, and `crackedge "
        f"export` needs {missing} too: add some (a folder {missing}/ in val/, or masks)"
    ]


def _held_out(root: Path, used: list[_Used]) -> list[LabelledSet]:
    """The sets to validate with, but for what is trained on: a set without splits, named alone, is found as both."""
    try:
        found = find_sets(root, split="val")
    except DataError:
        # By a pattern, which passes over folders that nobody may look into.
        patterns = [pattern for name in SPLITS["val"] for pattern in (name, f"*/{name}")]
        if any(path.is_dir() for pattern in patterns for path in root.glob(pattern)):
            raise  # there is a split, and something is wrong with it
        return []
    trained = {labelled.path for labelled, _ in used}
    return [labelled for labelled in found if labelled.path not in trained]


def _shared_photographs(root: Path, used: list[_Used], held_out: list[LabelledSet], recipe: Recipe) -> dict[str, str]:
    """The sets whose splits show the same source photograph, by name, each with a sentence that says how often."""
    by_name = {held.base_name: held for held in held_out}
    found = {}
    for labelled, use in used:
        held = by_name.get(labelled.base_name)
        if held is None or not use.photo:
            continue
        pairs = shared_photos(labelled, held, use.photo, origin=_photo_key(recipe, labelled))
        if pairs:
            ours, theirs = (entry.image.relative_to(root).as_posix() for entry in pairs[0])
            found[held.base_name] = (
                f"{held.base_name}: {len(pairs)} of {len(held.items)} held-out files show a source photograph that is "
                f"trained on ({theirs} and {ours}, say)"
            )
    return found


def _photo_key(recipe: Recipe, labelled: LabelledSet) -> str:
    return f"recipe {recipe.name}: data.{labelled.base_name}.photo"


def _without(left_out: set[Path], used: list[_Used]) -> list[_Used]:
    less = [
        (replace(labelled, items=tuple(entry for entry in labelled.items if entry.image not in left_out)), use)
        for labelled, use in used
    ]
    return [(labelled, use) for labelled, use in less if labelled.items]


def _require_both_classes(root: Path, used: list[tuple[LabelledSet, SetUse]]) -> None:
    positive = any(
        entry.crack is not False and not use.background_only for labelled, use in used for entry in labelled.items
    )
    negative = any(not entry.crack or labelled.kind == "boxes" for labelled, _ in used for entry in labelled.items)
    if not (positive and negative):
        missing, present = ("crack", "no_crack") if not positive else ("no_crack", "crack")
        raise DataError(
            f"{root}: only {present} photographs; training needs {missing} too (a folder {missing}/, or masks)"
        )
