"""Labelled data sets: found in folders, read picture by picture, cut into the windows that a figure is made of.

Three layouts, each in a folder of its own, or in a split folder (``train``, ``val``) inside the set's folder:

- *classes*: ``crack/`` and ``no_crack/`` (or one of them) with one image a tile;
- *masks*: ``images/`` and ``masks/`` with a lossless mask of the same stem for each image, 255 where it is cracked;
- *boxes*: ``images/`` and ``boxes/`` with a text of the same stem for each image, a line for each crack (YOLO).

Images are listed when a set is found and read when a picture is asked for. Training and calibration read them here too.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.errors import DataError, SourceError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.lattice import TILE
from crackedge.edge_runtime.sources import images
from crackedge.edge_runtime.sources.addresses import IMAGE_SUFFIXES
from crackedge.edge_runtime.sources.source import Skipped

Kind = Literal["classes", "masks", "boxes"]
Truth = npt.NDArray[np.int8]  # (H, W) int8: 1 crack, 0 no crack, -1 not known

SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")  # lossless: 255 must stay 255

WINDOW_STEP = 128  # px, between the windows of a masked image
MARGIN = 24  # px, from a window's edge to its central 176x176
_ROUNDED_PX = 2  # that a mask may lack both ways
CRACK_PIXELS = 50  # in the centre, from which on a window counts as crack

CRACK, NO_CRACK, UNKNOWN = 1, 0, -1
MASK_CRACK = 255

LAYOUT = "crack/ and/or no_crack/, or images/ with masks/ or boxes/, there or in a train/ or val/ folder"


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a set, not read yet.

    Attributes:
        image: the image file.
        crack: its class; None where a mask says which parts hold cracks.
        truth: its mask or box file, if it has one.
    """

    image: Path
    crack: bool | None
    truth: Path | None = None


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """A labelled data set: where it lies and what it lists.

    Attributes:
        name: the set's folder, with ``/SPLIT`` behind it for any split but ``val``.
        path: the folder that holds the layout.
        kind: its layout.
        items: its images in the order of their names.
        skipped: images that have no mask or boxes and are therefore not among the items.
        value_clear: the values of its masks that say "no crack", the others but 255 saying nothing; none given: all
            but 255 say so.
    """

    name: str
    path: Path
    kind: Kind
    items: tuple[Entry, ...]
    skipped: tuple[Skipped, ...] = ()
    value_clear: tuple[int, ...] = ()

    @property
    def base_name(self) -> str:
        """The name without its split: ``metu`` for ``metu/train``."""
        return self.name.split("/")[0]

    @property
    def names_sha256(self) -> str:
        """Of the names of its files, in their order: what a run draws, and what it holds out, hangs on them."""
        names = "\n".join(self.file(entry) for entry in self.items)
        return hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()

    def file(self, entry: Entry) -> str:
        """The name of an entry's image inside the set, with forward slashes."""
        return entry.image.relative_to(self.path).as_posix()


@dataclass(frozen=True, slots=True)
class LabelledWindow:
    """A 224x224 window with a class: its left and top pixel in the picture."""

    x: int
    y: int
    crack: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """An entry, read and ready to be scored.

    Attributes:
        image: (H, W, 3) uint8 RGB, at least 224x224; exactly that for classes and boxes.
        windows: the windows that count; windows of a mask that are neither crack nor crack-free are not among them.
        truth: (H, W) int8 for masks, otherwise None; see :data:`Truth`.
    """

    image: Image
    windows: tuple[LabelledWindow, ...]
    truth: Truth | None = None


def find_sets(root: Path, *, split: str = "val", value_clear: tuple[int, ...] = ()) -> list[LabelledSet]:
    """The labelled sets in a folder, in the order of their names.

    ``root`` is one set, or a folder of sets. A set's split folder is taken where it has one. In a folder of sets, sets
    without split folders count as held out: they are given for every split but ``train``, and for that too where no
    set has a ``train`` folder; named alone, a set without split folders is given whatever the split.

    Args:
        root: the folder.
        split: ``"train"``, ``"val"`` (or ``valid``, ``validation``), ``"test"``, or the name of another split folder.
        value_clear: of the sets with masks, see :class:`LabelledSet`.

    Raises:
        DataError: nothing there, no set recognised, no set with this split, a set without usable images, or a folder
            that cannot be read; one beside the sets, such as ``lost+found``, is passed over.
    """
    try:
        return [replace(found, value_clear=value_clear) for found in _find_sets(root, split)]
    except OSError as error:
        raise DataError(f"{error.filename or root}: cannot be read ({error.strerror or error})") from error


def _find_sets(root: Path, split: str) -> list[LabelledSet]:
    if not root.exists():
        raise DataError(f"{root}: no such folder; expected a data set or a folder of data sets")
    if not root.is_dir():
        raise DataError(f"{root}: not a folder; expected a data set ({LAYOUT}) or a folder of data sets")
    if _kind(root):
        return [read_set(root)]
    if folder := _split_folder(root, split):
        return [read_set(folder)]
    children = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    folders = {child: _split_folder(child, split) for child in children}
    if split != "train" or not any(folders.values()):
        for child in children:
            if folders[child] is None and _kind(child) and child.name not in _split_names():
                folders[child] = child
    found = [read_set(folder) for folder in folders.values() if folder]
    if not found:
        raise DataError(_nothing_found(root, split))
    return found


def find_held_out(root: Path, split_inside: Mapping[str, Sequence[str]]) -> list[LabelledSet]:
    """The sets to validate a trained network with, in the order of their names.

    Args:
        root: the folder that it was trained on.
        split_inside: of each set that had no validation split, the files that training held out, as in ``config.json``
            of the run; where there are none, the ``val`` splits are given.

    Raises:
        DataError: as :func:`find_sets`, or none of the files is there.
    """
    if not split_inside:
        return find_sets(root, split="val")
    found = []
    for labelled in find_sets(root, split="train"):
        files = set(split_inside.get(labelled.base_name, ()))
        items = tuple(entry for entry in labelled.items if labelled.file(entry) in files)
        if items:
            found.append(replace(labelled, name=labelled.base_name, items=items))
    if not found:
        raise DataError(
            f"{root}: has none of the photographs that training held out ({', '.join(split_inside)}); give the data "
            "that the run was trained on"
        )
    return found


def read_set(path: Path) -> LabelledSet:
    """The one set in a folder that holds a layout directly.

    Raises:
        DataError: the folder holds no layout, or no image that is usable with its labels.
    """
    kind = _kind(path)
    if kind is None:
        raise DataError(f"{path}: no labelled set; expected {LAYOUT}")
    items: list[Entry] = []
    skipped: list[Skipped] = []
    if kind == "classes":
        for folder, crack in (("crack", True), ("no_crack", False)):
            items += [Entry(image, crack) for image in _images(path / folder)]
    else:
        suffixes = MASK_SUFFIXES if kind == "masks" else (".txt",)
        truths = {file.stem: file for file in sorted((path / kind).iterdir()) if file.suffix.lower() in suffixes}
        for image in _images(path / "images"):
            truth = truths.get(image.stem)
            if truth is None:
                wanted = f"{kind}/{image.stem}{suffixes[0]}"
                skipped.append(Skipped(f"images/{image.name}", f"has no {wanted}"))
            else:
                items.append(Entry(image, True if kind == "boxes" else None, truth))
    if not items and skipped:
        raise DataError(
            f"{path}: none of its {len(skipped)} images has a file in {kind}/ ({skipped[0].file} {skipped[0].reason})"
        )
    if not items:
        folders = "crack/ and no_crack/" if kind == "classes" else "images/"
        raise DataError(f"{path}: no images in {folders}; expected {', '.join(sorted(IMAGE_SUFFIXES))} files there")
    return LabelledSet(_name(path), path, kind, tuple(items), tuple(skipped))


def read_picture(entry: Entry, *, value_clear: tuple[int, ...] = ()) -> Picture:
    """An entry's image with the windows that count.

    Classes and boxes: the whole image, resized to 224x224 by area interpolation, is one window (an image with boxes is
    one item of the class *crack*, wherever the boxes lie). Masks: see :func:`mask_windows`; the image keeps its scale.

    Raises:
        DataError: the image, its mask or its boxes cannot be used.
    """
    image = read_image(entry.image)
    if entry.crack is not None:
        if entry.truth is not None:
            read_boxes(entry.truth)
        tile = np.asarray(cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_AREA), np.uint8)
        return Picture(tile, (LabelledWindow(0, 0, entry.crack),))
    assert entry.truth is not None, "an entry without a class has a mask"
    height, width = image.shape[:2]
    truth = mask_truth(read_mask(entry.truth), (height, width), origin=str(entry.truth), value_clear=value_clear)
    down, right = max(0, TILE - height), max(0, TILE - width)
    if down or right:
        image = np.asarray(cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_REFLECT_101), np.uint8)
        truth = np.asarray(cv2.copyMakeBorder(truth, 0, down, 0, right, cv2.BORDER_REFLECT_101), np.int8)
    return Picture(image, mask_windows(truth), truth)


def pictures(labelled_set: LabelledSet, skipped: list[Skipped]) -> Iterator[tuple[Entry, Picture]]:
    """The pictures of a set, one after another; what cannot be read is appended to ``skipped`` and passed over."""
    for entry in labelled_set.items:
        try:
            picture = read_picture(entry, value_clear=labelled_set.value_clear)
        except DataError as error:
            skipped.append(Skipped(labelled_set.file(entry), str(error)))
            continue
        yield entry, picture


def mask_windows(truth: Truth) -> tuple[LabelledWindow, ...]:
    """The windows of a masked picture that count, row by row.

    They start at multiples of 128 px and lie inside the picture whole. *Crack* with at least 50 crack pixels in the
    central 176x176, *no crack* with none in the window; the others are left out, and so are those that touch what is
    not known.

    Args:
        truth: (H, W) int8, at least 224x224; see :data:`Truth`.
    """
    height, width = truth.shape
    windows: list[LabelledWindow] = []
    for y in range(0, height - TILE + 1, WINDOW_STEP):
        for x in range(0, width - TILE + 1, WINDOW_STEP):
            window = truth[y : y + TILE, x : x + TILE]
            if (window == UNKNOWN).any():
                continue
            centre = window[MARGIN : TILE - MARGIN, MARGIN : TILE - MARGIN]
            if np.count_nonzero(centre == CRACK) >= CRACK_PIXELS:
                windows.append(LabelledWindow(x, y, True))
            elif not (window == CRACK).any():
                windows.append(LabelledWindow(x, y, False))
    return tuple(windows)


def mask_truth(
    mask: npt.NDArray[np.uint8], size_hw: tuple[int, int], *, origin: str, value_clear: tuple[int, ...] = ()
) -> Truth:
    """What a mask says about an image of ``size_hw`` pixels: 255 is crack; for the others see :class:`LabelledSet`.

    A mask may lack a tenth of the rows, at the bottom, or of the columns, at the right (road masks end above the
    bonnet): not known there. One that lacks both, by more than rounding does, is of another scale.

    Raises:
        DataError: the mask is of another size than that, or plainly not of values up to 255.
    """
    height, width = size_hw
    rows, columns = mask.shape
    short, narrow = height - rows, width - columns
    if not 0 <= min(short, narrow) <= _ROUNDED_PX or 10 * short > height or 10 * narrow > width:
        raise DataError(
            f"{origin}: {columns}x{rows} px, its image is {width}x{height} px; expected the same size, but for a tenth "
            "of the rows or of the columns"
        )
    if mask.max() == 1:
        raise DataError(f"{origin}: values 0 and 1; expected 255 where there is a crack, multiply the mask by 255")
    truth = np.full(size_hw, UNKNOWN, np.int8)
    known = truth[:rows, :columns]
    known[np.isin(mask, value_clear) if value_clear else ...] = NO_CRACK
    known[mask == MASK_CRACK] = CRACK
    return truth


def read_image(path: Path) -> Image:
    """(H, W, 3) uint8 RGB, read as the robot reads photographs: upright, and a truncated file is a broken one.

    Raises:
        DataError: the file cannot be read or decoded.
    """
    try:
        return images.read_image(path)
    except SourceError as error:
        raise DataError(str(error)) from error


def read_mask(path: Path) -> npt.NDArray[np.uint8]:
    """(H, W) uint8, the mask's values as stored; of 16 bits the upper 8 where those are used.

    Raises:
        DataError: the file cannot be read or decoded, or holds colours.
    """
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        mask = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except cv2.error:  # a header that announces an absurd size
        mask = None
    if mask is None or mask.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{path}: not a mask that can be decoded ({data.size} bytes); remove or replace it")
    if mask.ndim == 3:
        if (mask[..., :3] != mask[..., :1]).any():
            raise DataError(f"{path}: a mask in colours; expected grey, 255 where there is a crack")
        mask = mask[..., 0]
    return np.asarray(mask // 256 if mask.max() > 255 else mask, np.uint8)


def read_boxes(path: Path) -> npt.NDArray[np.float64]:
    """(N, 4) float64, centre x, centre y, width, height, relative to the image's size.

    Raises:
        DataError: the file cannot be read or holds no box, or a line is not ``class cx cy w h`` with relative figures,
            and perhaps a confidence behind them.
    """
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if any(len(line) < 5 for line in lines):
            raise DataError(f"{path}: a line of fewer than five figures; expected lines of `class cx cy w h`")
        if any(len(line) > 6 for line in lines):
            raise DataError(f"{path}: a polygon; expected lines of `class cx cy w h`, the box around each crack")
        boxes = np.array([[float(figure) for figure in line[1:5]] for line in lines], np.float64).reshape(-1, 4)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except DataError:  # a ValueError too
        raise
    except ValueError as error:
        raise DataError(f"{path}: expected lines of `class cx cy w h` ({error})") from error
    if not boxes.size:
        raise DataError(f"{path}: holds no box, so its image is not known to hold a crack; remove the image")
    if not (boxes.min() >= 0 and boxes.max() <= 1):
        raise DataError(f"{path}: box figures from {boxes.min():g} to {boxes.max():g}; expected them relative, 0 to 1")
    return boxes


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _kind(folder: Path) -> Kind | None:
    """The layout that a folder holds; None where there is none, or nobody may look."""
    with contextlib.suppress(PermissionError):
        if (folder / "crack").is_dir() or (folder / "no_crack").is_dir():
            return "classes"
        if (folder / "images").is_dir():
            if (folder / "masks").is_dir():
                return "masks"
            if (folder / "boxes").is_dir():
                return "boxes"
    return None


def _split_names() -> set[str]:
    return {name for names in SPLITS.values() for name in names}


def _split_folder(folder: Path, split: str) -> Path | None:
    for name in SPLITS.get(split, (split,)):
        if _kind(folder / name):
            return folder / name
    return None


def _name(path: Path) -> str:
    path = path.resolve()
    if path.name in SPLITS["val"]:
        return path.parent.name
    if path.name in _split_names():
        return f"{path.parent.name}/{path.name}"
    return path.name


def _nothing_found(root: Path, split: str) -> str:
    """Why a folder gave no set, in the words of what it holds."""
    if (root / "images").is_dir():
        return f"{root}: images/ without masks/ or boxes/ beside it; a labelled set needs one of them"
    folders = sorted(path.name for path in root.iterdir() if path.is_dir())
    splits = sorted(
        {
            name
            for folder in [root, *(root / name for name in folders)]
            for name in _split_names()
            if _kind(folder / name)
        }
    )
    if splits:
        return f"{root}: no set with the split {split!r}; there are: {', '.join(splits)}"
    folders = sorted({*folders, *_in_splits(root)})
    holds = f"it holds {', '.join(folders[:8])}{' ...' if len(folders) > 8 else ''}" if folders else "it has no folders"
    return f"{root}: no labelled set; expected {LAYOUT}, or a folder of such sets; {holds}"


def _in_splits(root: Path) -> list[str]:
    """The folders inside split folders, below ``root``: whoever has named the classes otherwise sees it there."""
    patterns = [pattern for name in _split_names() for pattern in (f"{name}/*", f"*/{name}/*")]
    return [path.relative_to(root).as_posix() for pattern in patterns for path in root.glob(pattern) if path.is_dir()]
