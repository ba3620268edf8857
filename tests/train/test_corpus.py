from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from crackedge.benchmarks.data_sets import Entry, read_set
from crackedge.edge_runtime.errors import DataError
from crackedge.train.canvas import CLEAR, CRACK, UNKNOWN
from crackedge.train.corpus import Corpus, gather, read_photo
from crackedge.train.recipe import Recipe, SetUse, load_recipe


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A photograph of 300x200 px."""
    path = tmp_path / "photo.png"
    assert cv2.imwrite(str(path), np.full((200, 300, 3), 90, np.uint8))
    return path


def masked(image: Path, *, rows: int = 200, columns: int = 300, crack: int = 255) -> Entry:
    """It, with a mask of four stripes of 50 px: clear, cracked, and of the values 64 and 128."""
    mask = np.zeros((rows, columns), np.uint8)
    for stripe, value in enumerate((0, crack, 64, 128) if crack == 255 else (0, crack)):
        mask[:, 50 * stripe : 50 * (stripe + 1)] = value
    path = image.with_name("mask.png")
    assert cv2.imwrite(str(path), mask)
    return Entry(image, None, path)


@pytest.mark.parametrize(
    ("use", "stripes"),
    [
        (SetUse(), [CLEAR, CRACK, UNKNOWN, UNKNOWN]),
        (SetUse(value_clear=(0, 64)), [CLEAR, CRACK, CLEAR, UNKNOWN]),
        (SetUse(value_clear=(0,)), [CLEAR, CRACK, UNKNOWN, UNKNOWN]),
        (SetUse(value_clear=(0, 64), background_only=True), [CLEAR, UNKNOWN, CLEAR, UNKNOWN]),
    ],
)
def test_a_recipe_says_what_a_mask_s_values_mean(image: Path, use: SetUse, stripes: list[int]) -> None:
    label = read_photo(masked(image, rows=190), use).label
    assert label.shape == (200, 300)
    assert label[:190, 25:200:50].tolist() == [stripes] * 190
    assert (label[190:] == UNKNOWN).all()


@pytest.mark.parametrize(
    ("rows", "columns", "crack", "words"),
    [(200, 300, 1, "multiply the mask by 255"), (300, 200, 255, "200x300 px, its image is 300x200 px")],
)
def test_a_mask_that_evaluation_refuses_teaches_nothing_either(
    image: Path, rows: int, columns: int, crack: int, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        read_photo(masked(image, rows=rows, columns=columns, crack=crack), SetUse())


def test_a_mask_without_255_teaches_only_where_the_recipe_says_what_is_clear(image: Path) -> None:
    entry = masked(image, crack=128)
    with pytest.raises(DataError, match=r"mask\.png: values up to 128; expected 255 where there is a crack; .*clear"):
        read_photo(entry, SetUse())
    for use in (SetUse(value_clear=(0,)), SetUse(background_only=True)):
        label = read_photo(entry, use).label
        assert label[100, 25:100:50].tolist() == [CLEAR, UNKNOWN]


def test_boxes_hide_their_inside_and_none_at_all_are_refused(image: Path) -> None:
    boxes = image.with_name("photo.txt")
    boxes.write_text("0 0.5 0.5 0.2 0.2\n")
    photo = read_photo(Entry(image, True, boxes), SetUse())
    assert photo.weak_crack
    assert photo.label[100, 150] == UNKNOWN
    assert photo.label[10, 10] == CLEAR
    boxes.write_text("\n")
    with pytest.raises(DataError, match=r"photo\.txt: holds no box"):
        read_photo(Entry(image, True, boxes), SetUse())


def test_cracks_of_a_mere_background_are_left_alone(photographs: Path) -> None:
    entry = next(entry for entry in read_set(photographs / "tiles" / "train").items if entry.crack)
    photo = read_photo(entry, SetUse(background_only=True))
    assert not photo.weak_crack
    assert (photo.label == UNKNOWN).all()
    background = Recipe(
        "background", data={name: SetUse(background_only=True) for name in ("tiles", "masked", "boxed")}
    )
    with pytest.raises(DataError, match="only no_crack photographs"):
        gather(photographs, background)


@pytest.mark.parametrize("named", [(0, 64), (0,)])
def test_what_is_held_out_is_read_by_the_same_mask_values(photographs: Path, named: tuple[int, ...]) -> None:
    recipe = Recipe("values", data={"masked": SetUse(value_clear=named)})
    held_out = gather(photographs, recipe).held_out
    assert {held.name: held.value_clear for held in held_out} == {"boxed": (), "masked": named, "tiles": ()}


def test_a_table_of_a_set_that_is_not_here_is_noted(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "sites.toml").write_text("[quay]\nweight = 3\n")
    (tmp_path / "mine.toml").write_text("[data]\nfrom = 'sites.toml'\nquay.weight = 2\ntils.weight = 0\ntiles = {}\n")
    recipe = load_recipe(str(tmp_path / "mine.toml"))
    wanted = "recipe mine: data.tils: no such set here (boxed, masked, tiles)"
    assert [note for note in gather(photographs, recipe).notes if "no such set" in note] == [wanted]


def test_one_class_alone_held_out_is_noted(photographs: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(photographs / "tiles", tmp_path / "tiles"))
    assert not any("held out" in note for note in gather(root, Recipe("mine")).notes)
    shutil.rmtree(root / "val" / "crack")
    (note,) = gather(root, Recipe("mine")).notes
    assert note.startswith("tiles: only no_crack photographs are held out, and `crackedge export` needs crack too")
    shutil.copytree(photographs / "masked", tmp_path / "masked")
    assert not gather(tmp_path, Recipe("mine")).notes, "masks may show both"


def test_a_folder_that_nobody_may_look_into_is_no_val_folder(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(photographs / "tiles" / "train", tmp_path / "tiles" / "train")
    (tmp_path / "lost+found").mkdir()
    stat = Path.stat

    def refusing(self: Path, **options: bool) -> os.stat_result:
        if self.parent.name == "lost+found":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", refusing)
    corpus = gather(tmp_path, Recipe("mine"))
    assert [(one.name, len(one.items)) for one in (*corpus.sets, *corpus.held_out)] == [
        ("tiles/train", 8),
        ("tiles", 4),
    ]


def test_a_set_of_which_nothing_can_be_read_says_why(image: Path) -> None:
    folder = image.parent / "set"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    image.rename(folder / "images" / image.name)
    assert cv2.imwrite(str(folder / "masks" / image.name), np.eye(200, 300, dtype=np.uint8))
    with pytest.raises(DataError, match=r"100 images in a row could not be read; the last: .*values 0 and 1"):
        Corpus((read_set(folder),), (SetUse(),)).draw(np.random.default_rng(0))
