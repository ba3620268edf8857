"""Packs: the photographs of a training run as one zip file of bounded size, for a machine that cannot see the folders.

Quality gives way first: the best JPEG quality of 95, 90, 80 and 70 with which everything fits. Where 70 is too large
still, count gives way: each class of each split of each set gets an equal share of the bytes, what one does not need
goes to the others, and of those that need more, photographs are kept evenly over the list of their names. A JPEG file
that is smaller as it is stays as it is; masks keep their values; what training would leave out is left out. The same
photographs give the same file.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from crackedge.benchmarks.data_sets import Entry, LabelledSet, read_boxes, read_image, read_mask
from crackedge.edge_runtime.errors import DataError, OptionError
from crackedge.edge_runtime.output_file import replacing, require_free
from crackedge.train.corpus import Corpus

QUALITIES = (95, 90, 80, 70)

_END_BYTES = 22 + 56 + 20  # of a zip file, the long form for many members included
_MEMBER_BYTES = 30 + 46  # that a member takes beside its data and twice its name
_DATE = (1980, 1, 1, 0, 0, 0)  # the same photographs give the same bytes
_JPEG = (".jpg", ".jpeg")
_BLOCK = 256  # photographs in the threads' hands

_Group = tuple[str, bool | None]  # split of a set, class
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Packed:
    """A pack that was written.

    Attributes:
        path: the zip file.
        size: in bytes.
        quality: JPEG quality of the photographs that were encoded anew.
        kept: by set and split, ``metu/train``: how many photographs are in it, and of how many.
        skipped: photographs that could not be read, and why.
    """

    path: Path
    size: int
    quality: int
    kept: dict[str, tuple[int, int]]
    skipped: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Item:
    """A photograph on its way into the pack: the names of its files there, and the bytes they take by quality."""

    entry: Entry
    image: str
    truth: str
    sizes: tuple[int, ...] = ()


def write_pack(
    corpus: Corpus, path: Path, *, most_bytes: int, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> Packed:
    """Write what a recipe trains on and validates with as one zip file, never larger than ``most_bytes``.

    Args:
        corpus: from :func:`crackedge.train.corpus.gather`.
        path: the zip file to write.
        most_bytes: how large it may become.
        progress: called with the number of photographs looked at and of all.

    Raises:
        DataError: most of the photographs cannot be read.
        OptionError: a class of a set would be left without a photograph.
        OutputError: the file exists, or cannot be written.
    """
    require_free(path, option="--pack", overwrite=None)
    groups, skipped = _measured(corpus, progress)
    number = next(
        (n for n in range(len(QUALITIES)) if _END_BYTES + sum(map(sum, _sizes(groups, n))) <= most_bytes), None
    )
    if number is None:
        number = len(QUALITIES) - 1
        chosen = _fitting(groups, number, most_bytes)
    else:
        chosen = groups
    with replacing(path) as part:
        _write(part, [item for items in chosen.values() for item in items], QUALITIES[number])
        size = part.stat().st_size
    kept: dict[str, tuple[int, int]] = {}
    for split, labelled in _splits(corpus):
        inside = sum(len(items) for (name, _), items in chosen.items() if name == split)
        kept[split] = (inside, len(labelled.items))
    return Packed(path, size, QUALITIES[number], kept, skipped)


@contextlib.contextmanager
def opened(data_root: Path) -> Iterator[Path]:
    """The folder of data sets: the one given, or what a zip file holds, unpacked for as long as it is needed.

    Raises:
        DataError: a file that is no zip file, is damaged, encrypted or too large for the disk, or would write outside.
    """
    if not data_root.is_file():
        yield data_root
        return
    with tempfile.TemporaryDirectory(prefix="crackedge-") as scratch:
        folder = Path(scratch) / data_root.stem  # the set's name, where it is a single one
        folder.mkdir()
        _unpack(data_root, folder)
        yield folder


def _splits(corpus: Corpus) -> list[tuple[str, LabelledSet]]:
    return [
        *((f"{labelled.base_name}/train", labelled) for labelled in corpus.sets),
        *((f"{labelled.base_name}/val", labelled) for labelled in corpus.held_out),
    ]


def _measured(corpus: Corpus, progress: Callable[[int, int], None]) -> tuple[dict[_Group, list[_Item]], dict[str, str]]:
    """All photographs by split and class, each with its sizes; and those that cannot be read."""
    items = [((split, item.entry.crack), item) for split, one in _splits(corpus) for item in _named(split, one)]
    groups: dict[_Group, list[_Item]] = {key: [] for key, _ in items}
    skipped: dict[str, str] = {}
    for number, measured in enumerate(_in_order(_measure, [item for _, item in items])):
        key, item = items[number]
        if isinstance(measured, DataError):
            skipped[str(item.entry.image)] = str(measured)
        else:
            groups[key].append(measured)
        progress(number + 1, len(items))
    if 2 * len(skipped) > len(items):
        file, why = next(iter(skipped.items()))
        raise DataError(f"{len(skipped)} of {len(items)} photographs cannot be read; the first: {file} ({why})")
    return {key: group for key, group in groups.items() if group}, skipped


def _named(split: str, labelled: LabelledSet) -> Iterator[_Item]:
    """The photographs of a set with their names in the pack; their source photographs can still be told from those."""
    taken: set[str] = set()
    for entry in labelled.items:
        folder = PurePosixPath(labelled.file(entry)).parent
        stem = entry.image.stem
        while (image := _spelt(f"{split}/{folder}/{stem}.jpg")) in taken:  # a.jpg beside a.png
            stem += "_"
        taken.add(image)
        truth = "" if entry.truth is None else f"{split}/{labelled.kind}/{stem}.{'txt' if entry.crack else 'png'}"
        yield _Item(entry, image, _spelt(truth))


def _spelt(name: str) -> str:
    """A name as a zip file can hold it: bytes that are no UTF-8 as in a URL, for a backslash may part folders."""
    return re.sub("[\udc80-\udcff]", lambda found: f"%{ord(found[0]) - 0xDC00:02X}", name)


def _measure(item: _Item) -> _Item | DataError:
    try:
        image = read_image(item.entry.image)
        truth = _truth(item.entry)
    except DataError as error:
        return error
    rest = _member_bytes(item.image, 0) + (_member_bytes(item.truth, len(truth)) if item.truth else 0)
    sizes = tuple(len(_photograph(item.entry, image, quality)) + rest for quality in QUALITIES)
    return _Item(item.entry, item.image, item.truth, sizes)


def _member_bytes(name: str, size: int) -> int:
    return _MEMBER_BYTES + 2 * len(name.encode()) + size


def _photograph(entry: Entry, image: npt.NDArray[np.uint8], quality: int) -> bytes:
    """The JPEG of a photograph: the file itself where that is one and no larger."""
    _, coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if entry.image.suffix.lower() in _JPEG and entry.image.stat().st_size <= coded.size:
        return entry.image.read_bytes()
    return coded.tobytes()


def _truth(entry: Entry) -> bytes:
    """The mask as a PNG file, the file itself where that is one and no larger; boxes as they are."""
    if entry.truth is None:
        return b""
    if entry.crack:
        read_boxes(entry.truth)
        return entry.truth.read_bytes()
    _, coded = cv2.imencode(".png", read_mask(entry.truth), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if entry.truth.suffix.lower() == ".png" and entry.truth.stat().st_size <= coded.size:
        return entry.truth.read_bytes()
    return coded.tobytes()


def _sizes(groups: dict[_Group, list[_Item]], number: int) -> list[list[int]]:
    return [[item.sizes[number] for item in items] for items in groups.values()]


def _fitting(groups: dict[_Group, list[_Item]], number: int, most_bytes: int) -> dict[_Group, list[_Item]]:
    """Of each group what fits into its share; the smallest first, so that what they leave goes to the others."""
    left = most_bytes - _END_BYTES
    sizes = dict(zip(groups, _sizes(groups, number), strict=True))
    kept: dict[_Group, list[_Item]] = {}
    for done, key in enumerate(sorted(groups, key=lambda key: (sum(sizes[key]), key[0], str(key[1])))):
        share = left // (len(groups) - done)
        chosen = _evenly(sizes[key], share)
        if not chosen:
            least = len(groups) * max(map(min, sizes.values())) + _END_BYTES
            raise OptionError(
                f"--pack-mb {most_bytes / 1e6:g}: too small for one photograph of each class of each set; expected at "
                f"least {math.ceil(least / 1e4) / 100:g}"
            )
        kept[key] = [groups[key][index] for index in chosen]
        left -= sum(sizes[key][index] for index in chosen)
    return {key: kept[key] for key in groups}


def _evenly(sizes: Sequence[int], most: int) -> list[int]:
    """As many indexes as fit into ``most`` bytes, evenly over the list; else that of the smallest, where it fits."""
    count = len(sizes)
    while count:
        chosen = [(2 * index + 1) * len(sizes) // (2 * count) for index in range(count)]
        total = sum(sizes[index] for index in chosen)
        if total <= most:
            return chosen
        count = min(count - 1, max(1, count * most // total))
    smallest = sizes.index(min(sizes))
    return [smallest] if sizes[smallest] <= most else []


def _write(path: Path, items: Sequence[_Item], quality: int) -> None:
    def content(item: _Item) -> tuple[bytes, bytes]:
        return _photograph(item.entry, read_image(item.entry.image), quality), _truth(item.entry)

    with zipfile.ZipFile(path, "w") as pack:
        for item, (image, truth) in zip(items, _in_order(content, items), strict=True):
            pack.writestr(zipfile.ZipInfo(item.image, _DATE), image)
            if item.truth:
                pack.writestr(zipfile.ZipInfo(item.truth, _DATE), truth)


def _in_order(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
    """What a function makes of each item, by several threads; a block at a time, for memory's and Ctrl-C's sake."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(items), _BLOCK):
            yield from pool.map(function, items[start : start + _BLOCK])


def _unpack(file: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(file) as pack:
            members = [member for member in pack.infolist() if not member.filename.startswith("__MACOSX/")]
            for member in members:
                _refuse_outside(file, member.orig_filename)
            needed, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
            if needed > free:
                raise DataError(
                    f"{file}: holds {needed / 1e6:.0f} MB, and {folder.parent.parent} has {free / 1e6:.0f} MB free; "
                    "make room, or name another folder in TMPDIR"
                )
            pack.extractall(folder, members)
    except DataError:  # a ValueError, and so are some of zipfile's
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise DataError(
            f"{file}: cannot be unpacked ({error}); expected a folder of data sets, or a zip file of one as "
            "`crackedge train --pack` writes"
        ) from error


def _refuse_outside(file: Path, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive:
        raise DataError(f"{file}: its member {name!r} would be written outside of the folder; pack it anew")
