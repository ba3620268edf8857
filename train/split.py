"""Splits by source photograph: what is trained on and what is held out never show the same one.

Files of a data set are often pieces of one photograph, or frames of one flight. A recipe names the source photograph by
a pattern: ``photo = '^(\\d+)-'`` says that ``7071-105.jpg`` is a piece of photograph ``7071``.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter

from crackedge.benchmarks.data_sets import Entry, LabelledSet
from crackedge.edge_runtime.errors import DataError, OptionError

HELD_OUT_SHARE = 0.2  # of each class of a set that comes without a validation split


def source_photo(entry: Entry, pattern: str, *, origin: str) -> str:
    """The photograph that a file is a piece of: group 1 of the pattern in the file's name without its ending.

    Without a pattern each file is its own photograph.

    Raises:
        OptionError: the pattern does not match the name; names ``origin``, the place of the pattern.
    """
    if not pattern:
        return entry.image.stem
    found = re.search(pattern, entry.image.stem)
    if found is None or not found[1]:
        raise OptionError(
            f"{origin} = {pattern!r}: does not match {entry.image.stem!r} ({entry.image}); expected a pattern whose "
            "group 1 names the source photograph of every file, by its name without the ending"
        )
    return found[1]


def shared_photos(
    training: LabelledSet, held_out: LabelledSet, pattern: str, *, origin: str
) -> list[tuple[Entry, Entry]]:
    """The held-out files whose photograph is trained on too, each with one of the files that show it.

    Returns:
        Pairs (trained on, held out), in the order of the held-out files.

    Raises:
        OptionError: the pattern does not match a file.
    """
    trained = {source_photo(entry, pattern, origin=origin): entry for entry in reversed(training.items)}
    photos = ((source_photo(entry, pattern, origin=origin), entry) for entry in held_out.items)
    return [(trained[photo], entry) for photo, entry in photos if photo in trained]


def hold_out(labelled: LabelledSet, pattern: str, *, origin: str) -> tuple[LabelledSet, LabelledSet]:
    """Split a set that comes without a validation split: of each class the last fifth at least.

    By whole source photographs, and the last in the order of their names, numbers in them read as numbers: neighbours
    in that order often show the same place, and so they part at one point only.

    Returns:
        What is trained on, and what is held out.

    Raises:
        DataError: a class shows a single photograph.
        OptionError: the pattern does not match a file.
    """
    photos = [source_photo(entry, pattern, origin=origin) for entry in labelled.items]
    classes = {
        crack: Counter(photo for entry, photo in zip(labelled.items, photos, strict=True) if entry.crack is crack)
        for crack in {entry.crack: None for entry in labelled.items}
    }
    held: set[str] = set()
    for pieces in classes.values():
        wanted = math.ceil(HELD_OUT_SHARE * pieces.total())
        have = sum(pieces[photo] for photo in held)
        for photo in sorted(pieces.keys() - held, key=_natural, reverse=True):
            if have >= wanted:
                break
            held.add(photo)
            have += pieces[photo]
    for crack, pieces in classes.items():
        if pieces.keys() <= held:
            folder = {True: "crack/", False: "no_crack/", None: "images/"}[crack]
            photo = max(pieces, key=_natural)
            raise DataError(
                f"{labelled.path}: nothing to validate with: {folder} has {pieces.total()} files, and parting them by "
                f"source photograph (the last is {photo!r}) leaves none to train on; add photographs, or a val/ folder"
            )
    apart = [photo in held for photo in photos]
    return (
        dataclasses.replace(labelled, name=f"{labelled.base_name}/train", items=_chosen(labelled, apart, False)),
        dataclasses.replace(labelled, name=labelled.base_name, items=_chosen(labelled, apart, True)),
    )


def _chosen(labelled: LabelledSet, apart: list[bool], wanted: bool) -> tuple[Entry, ...]:
    return tuple(entry for entry, held in zip(labelled.items, apart, strict=True) if held is wanted)


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """A sorting key for which ``9`` comes before ``10``, and ``07`` before ``7``: no two names are equal."""
    return [(int(digits or 0), text) for digits, text in re.findall(r"(\d*)(\D*)", name)], name
