from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("keras", reason="the workstation's packages are not installed")

from crackedge.benchmarks.data_sets import find_sets, read_set
from crackedge.edge_runtime.errors import DataError
from crackedge.edge_runtime.scenes.surfaces import render_surface
from crackedge.train.corpus import gather
from crackedge.train.leaks import find_copies
from crackedge.train.recipe import Recipe

Tile = npt.NDArray[np.uint8]
DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


def _save(path: Path, image: Tile, *, quality: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, quality])


def _resized(image: Tile, factor: float) -> Tile:
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


@pytest.fixture(scope="module")
def walls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of crack-free concrete, 30 tiles to train on and 10 held out, each of its own."""
    root = tmp_path_factory.mktemp("walls") / "walls"
    rng = np.random.default_rng(3)
    for number in range(40):
        split = "train" if number < 30 else "val"
        _save(root / split / "no_crack" / f"{number}.jpg", render_surface("concrete", (160, 160), rng))
    return root


@pytest.fixture
def site(walls: Path, tmp_path: Path) -> Path:
    """The same with a crack to train on, to be changed."""
    shutil.copytree(walls, tmp_path / "walls")
    tile = np.full((160, 160, 3), 150, np.uint8)
    cv2.line(tile, (0, 20), (159, 120), (30, 30, 30), 4)
    _save(tmp_path / "walls" / "train" / "crack" / "c.jpg", tile)
    return tmp_path / "walls"


def _copies(root: Path) -> list[tuple[str, str, bool]]:
    (training,), (held_out,) = find_sets(root, split="train"), find_sets(root, split="val")
    found = find_copies([training], [held_out])
    return [(training.file(copy.training), held_out.file(copy.held_out), copy.exact) for copy in found]


def test_tiles_of_one_wall_are_no_copies(walls: Path) -> None:
    assert _copies(walls) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda tile: tile,
        lambda tile: _resized(tile, 0.8),
        lambda tile: _resized(tile, 1.3),
        lambda tile: tile[:, ::-1],
        lambda tile: tile[::-1],
        np.rot90,
        lambda tile: np.rot90(tile, 3)[::-1],
        lambda tile: np.clip(tile * 0.8 + 5, 0, 255).astype(np.uint8),
    ],
    ids=["encoded anew", "smaller", "larger", "mirrored", "upside down", "turned", "turned and mirrored", "darker"],
)
def test_a_changed_copy_is_found(site: Path, change: Callable[[Tile], Tile]) -> None:
    held_out = cv2.imread(str(site / "val" / "no_crack" / "35.jpg"))
    assert held_out is not None
    _save(
        site / "train" / "no_crack" / "x.jpg", np.ascontiguousarray(change(np.asarray(held_out, np.uint8))), quality=75
    )
    assert _copies(site) == [("no_crack/x.jpg", "no_crack/35.jpg", False)]


def test_the_same_bytes_are_an_exact_copy_whatever_they_are(site: Path) -> None:
    shutil.copy(site / "val" / "no_crack" / "35.jpg", site / "train" / "no_crack" / "x.jpg")
    for path in (site / "train" / "no_crack" / "broken.jpg", site / "val" / "no_crack" / "bad.jpg"):
        path.write_bytes(b"no image at all")
    assert _copies(site) == [
        ("no_crack/broken.jpg", "no_crack/bad.jpg", True),
        ("no_crack/x.jpg", "no_crack/35.jpg", True),
    ]


def test_what_shows_nothing_is_like_nothing(site: Path) -> None:
    for split, size in (("train", 64), ("val", 80)):
        _save(site / split / "no_crack" / "black.png", np.zeros((size, size, 3), np.uint8))
        (site / split / "no_crack" / "broken.jpg").write_bytes(split.encode())
        (site / split / "no_crack" / "empty.jpg").touch()
    (site / "val" / "no_crack" / "empty.jpg").write_bytes(b"\xff\xd8\xff")
    assert _copies(site) == []


def test_a_file_that_vanishes_is_a_copy_of_nothing(site: Path) -> None:
    training, held_out = read_set(site / "train"), read_set(site / "val")
    for labelled in (training, held_out):
        labelled.items[-1].image.unlink()
    assert find_copies([training], [held_out]) == []


def test_progress_counts_every_file_once(site: Path) -> None:
    seen: list[tuple[int, int]] = []
    training, held_out = read_set(site / "train"), read_set(site / "val")
    find_copies([training], [held_out], progress=lambda *step: seen.append(step))
    assert seen == [(number, 41) for number in range(1, 42)]
    assert find_copies([training], [], progress=lambda *step: seen.append(step)) == []
    assert len(seen) == 41


def test_the_training_copy_is_left_out_and_listed(site: Path) -> None:
    other = site.parent / "other"  # the copy may lie in another set
    shutil.copytree(site, other)
    shutil.rmtree(other / "val")
    corpus = gather(site.parent, Recipe("mine"))
    assert corpus.leaks["copies_left_out"] == []
    shutil.copy(site / "val" / "no_crack" / "35.jpg", other / "train" / "no_crack" / "x.jpg")
    corpus = gather(site.parent, Recipe("mine"))
    assert corpus.leaks["copies_left_out"] == [
        {"training": "other/train/no_crack/x.jpg", "held_out": "walls/val/no_crack/35.jpg", "exact": True}
    ]
    assert {one.base_name: len(one.items) for one in corpus.sets} == {"other": 31, "walls": 31}
    assert not any(entry.image.name == "x.jpg" for one in corpus.sets for entry in one.items)
    assert [len(one.items) for one in corpus.held_out] == [10]
    one_sided, one_class, note = corpus.notes
    assert one_sided.startswith("other: no val/ folder")
    assert one_class.startswith("walls: only no_crack photographs are held out")
    assert "other 1" in note


def test_a_class_of_nothing_but_copies_is_refused(site: Path) -> None:
    (site / "val" / "crack").mkdir()
    shutil.copy(site / "train" / "crack" / "c.jpg", site / "val" / "crack" / "c.jpg")
    with pytest.raises(DataError, match="only no_crack"):
        gather(site, Recipe("mine"))
    shutil.rmtree(site / "val")
    shutil.copytree(site / "train", site / "val")
    with pytest.raises(DataError, match="every training photograph is a copy"):
        gather(site, Recipe("mine"))


@pytest.mark.skipif(not (DATA / "metu").is_dir(), reason="the photographs are not here")
def test_metu_holds_copies_of_its_validation_tiles() -> None:
    (training,), (held_out,) = find_sets(DATA / "metu", split="train"), find_sets(DATA / "metu", split="val")
    copies = find_copies([training], [held_out])
    assert 70 <= len(copies) <= 85  # half of them mirrored; looked at one by one
    assert not any(copy.exact for copy in copies)
    assert sum(copy.held_out.image.parent.name != copy.training.image.parent.name for copy in copies) == 0
