"""Leaks: training photographs that are copies of held-out ones, and would make every figure too good.

Exact copies are found by their bytes. Near copies, re-encoded, resized, turned or mirrored, in two steps: a perceptual
hash that is blind to turning and mirroring proposes pairs, and the detail of the two pictures, correlated in all eight
positions, decides; crack-free tiles of one wall look alike to a hash, but each has its own grain.

The thresholds were measured on 2,582 held-out against 16,591 training photographs of concrete, asphalt and plaster. The
hash proposed 99 pairs; the copies among them correlate at 0.97 and more, two crops of one place at 0.85, all the others
at 0.76 and less. Of 820 photographs, 99 % were found again when encoded at JPEG quality 30, or at half the size and
quality 60.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from crackedge.benchmarks.data_sets import Entry, LabelledSet

Floats = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]

_EDGE = 32  # px, of the thumbnails that are compared
_FREQUENCIES = 12  # along each axis, of the hash
_SAME_HASH = 0.8  # cosine from which on a pair is looked at
_SAME_DETAIL = 0.82  # correlation from which on it is a copy
_LARGE_FILE = 1_000_000  # bytes, from which on a quarter of the size is decoded
_ROWS, _PAIRS = 256, 4096  # compared at a time, for memory's sake


@dataclass(frozen=True, slots=True)
class Copy:
    """A training photograph that is one of the held-out ones.

    Attributes:
        set_name: base name of the set that is trained on.
        training: the training photograph.
        held_out: the photograph that it is a copy of.
        exact: byte for byte.
    """

    set_name: str
    training: Entry
    held_out: Entry
    exact: bool


def find_copies(
    training: Sequence[LabelledSet],
    held_out: Sequence[LabelledSet],
    *,
    progress: Progress = lambda _done, _total: None,
) -> list[Copy]:
    """The training photographs that are copies of held-out ones, in their order; each named once.

    A file that cannot be read is a copy of nothing but of the same bytes.

    Args:
        training: what is trained on.
        held_out: what is validated with.
        progress: called with the number of files read and of all.
    """
    ours = [(labelled.base_name, entry) for labelled in training for entry in labelled.items]
    theirs = [entry for labelled in held_out for entry in labelled.items]
    if not (ours and theirs):
        return []
    digests, thumbnails = _read([entry.image for entry in [*(entry for _, entry in ours), *theirs]], progress)
    split = len(ours)
    first = {digest: number for number, digest in reversed(list(enumerate(digests[split:]))) if digest}
    found = {number: (first[digest], True) for number, digest in enumerate(digests[:split]) if digest in first}
    for number, other in _near(thumbnails[:split], thumbnails[split:]):
        found.setdefault(number, (other, False))
    return [Copy(*ours[number], theirs[other], exact) for number, (other, exact) in sorted(found.items())]


def _read(files: Sequence[Path], progress: Progress) -> tuple[list[bytes], npt.NDArray[np.uint8]]:
    """Of each file the digest of its bytes, empty where there are none, and a grey thumbnail, (N, 32, 32)."""
    digests: list[bytes] = []
    thumbnails = np.zeros((len(files), _EDGE, _EDGE), np.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, (digest, thumbnail) in enumerate(pool.map(_thumbnail, files)):
            digests.append(digest)
            thumbnails[number] = thumbnail
            progress(number + 1, len(files))
    return digests, thumbnails


def _thumbnail(file: Path) -> tuple[bytes, npt.NDArray[np.uint8]]:
    blank = np.zeros((_EDGE, _EDGE), np.uint8)  # has no hash, so it resembles nothing
    try:
        data = file.read_bytes()
    except OSError:
        return b"", blank
    digest = hashlib.sha256(data).digest()
    reading = cv2.IMREAD_GRAYSCALE if len(data) < _LARGE_FILE else cv2.IMREAD_REDUCED_GRAYSCALE_4
    try:
        grey = cv2.imdecode(np.frombuffer(data, np.uint8), reading) if data else None
    except cv2.error:  # a header that announces an absurd size
        grey = None
    if grey is None:
        return digest, blank
    return digest, np.asarray(cv2.resize(grey, (_EDGE, _EDGE), interpolation=cv2.INTER_AREA), np.uint8)


def _near(training: npt.NDArray[np.uint8], held_out: npt.NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Pairs (training, held out) of near copies among thumbnails."""
    hashes = _hashes(training)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(held_out), _ROWS):
        alike = _hashes(held_out[start : start + _ROWS]) @ hashes.T >= _SAME_HASH
        others, numbers = np.nonzero(alike)
        for part in range(0, len(others), _PAIRS):
            ours, theirs = numbers[part : part + _PAIRS], others[part : part + _PAIRS] + start
            same = _correlation(training[ours], held_out[theirs]) >= _SAME_DETAIL
            pairs += zip(ours[same].tolist(), theirs[same].tolist(), strict=True)
    return pairs


def _hashes(thumbnails: npt.NDArray[np.uint8]) -> Floats:
    """(N, 32, 32) uint8 to (N, 77) float32 of length 1, or 0 where a thumbnail is blank: a perceptual hash.

    Magnitudes of the lowest frequencies of the cosine transform: mirroring changes only their signs, and turning
    swaps the axes, over which they are summed. Weighted by frequency, for natural pictures fall off like its inverse.
    """
    place = (np.arange(_EDGE) + 0.5) * np.pi / _EDGE
    basis = np.cos(np.arange(_FREQUENCIES)[:, None] * place).astype(np.float32)
    basis[0] /= np.sqrt(2)
    grey = thumbnails.astype(np.float32)
    magnitude = np.abs(basis @ grey @ basis.T)
    rows, columns = (axis[1:] for axis in np.triu_indices(_FREQUENCIES))  # all but the mean brightness
    both = (magnitude + magnitude.transpose(0, 2, 1))[:, rows, columns]
    found = np.sqrt(both * np.hypot(rows, columns).astype(np.float32))
    return _unit(found)


def _correlation(training: npt.NDArray[np.uint8], held_out: npt.NDArray[np.uint8]) -> Floats:
    """(N,) float32: how alike the detail of two pictures is, pair by pair, in the best of eight positions."""
    ours, theirs = _detail(training), _detail(held_out)
    best = np.full(len(ours), -1, np.float32)
    for turned in (theirs, theirs.transpose(0, 2, 1)):
        for across in (1, -1):
            for down in (1, -1):
                position = _unit(turned[:, ::down, ::across].reshape(len(turned), -1))
                best = np.maximum(best, (_unit(ours.reshape(len(ours), -1)) * position).sum(1))
    return best


def _detail(thumbnails: npt.NDArray[np.uint8]) -> Floats:
    """What a thumbnail holds beside large shades, (N, 32, 32) float32: light and dark sides are no fingerprint."""
    return np.stack([one - cv2.GaussianBlur(one, (0, 0), 2) for one in thumbnails.astype(np.float32)])


def _unit(rows: Floats) -> Floats:
    """Rows less their mean, of length 1; a row without contrast becomes 0 and resembles nothing."""
    rows = rows - rows.mean(1, keepdims=True)
    length = np.sqrt((rows**2).sum(1, keepdims=True))
    return np.where(length > 1e-3, rows / np.maximum(length, 1e-3), 0).astype(np.float32)
