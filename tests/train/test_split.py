from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("keras", reason="the workstation's packages are not installed")

from crackedge.benchmarks.data_sets import Entry, LabelledSet, find_held_out
from crackedge.edge_runtime.errors import DataError, OptionError
from crackedge.train.corpus import gather
from crackedge.train.recipe import Recipe, SetUse
from crackedge.train.split import HELD_OUT_SHARE, hold_out, source_photo

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
PHOTO = r"^(IMG\d+)_"


def _recipe(name: str, photo: str = PHOTO) -> Recipe:
    return Recipe("mine", data={name: SetUse(photo=photo)})


def _set(*names: str) -> LabelledSet:
    root = Path("site")
    return LabelledSet("site", root, "classes", tuple(Entry(root / name, name.startswith("crack/")) for name in names))


@pytest.fixture
def tiles(photographs: Path, tmp_path: Path) -> Path:
    """A set with train and val, pieces of IMG1 to train on and of IMG2 held out."""
    for split, photo in (("train", 1), ("val", 2)):
        for crack in ("crack", "no_crack"):
            (tmp_path / "tiles" / split / crack).mkdir(parents=True)
            for file in sorted((photographs / "tiles" / split / crack).iterdir()):
                shutil.copy(file, tmp_path / "tiles" / split / crack / f"IMG{photo}_{file.name}")
    return tmp_path / "tiles"


def test_splits_that_share_a_source_photograph_are_refused(tiles: Path) -> None:
    assert gather(tiles, _recipe("tiles")).leaks["shared_photographs"] == {}
    for number in (3, 4):
        (tiles / "train" / "crack" / f"IMG1_{number}.png").rename(tiles / "train" / "crack" / f"IMG2_x{number}.png")
    with pytest.raises(DataError) as caught:
        gather(tiles, _recipe("tiles"))
    for word in ("tiles: 12 of 12", "val/crack/IMG2_0.png", "train/crack/IMG2_x3.png", "--allow-leak"):
        assert word in str(caught.value)
    corpus = gather(tiles, _recipe("tiles"), allow_leak=True)
    assert len(corpus.sets[0].items) == 12
    assert corpus.leaks["allowed"] is True
    assert list(corpus.leaks["shared_photographs"]) == ["tiles"]
    assert corpus.notes == tuple(corpus.leaks["shared_photographs"].values())


def test_a_set_that_is_not_trained_on_may_share_them(tiles: Path, photographs: Path) -> None:
    (tiles / "train" / "crack" / "IMG1_3.png").rename(tiles / "train" / "crack" / "IMG2_x.png")
    shutil.copytree(photographs / "tiles", tiles.parent / "other")
    recipe = Recipe("mine", data={"tiles": SetUse(weight=0, photo=PHOTO)})
    assert [one.base_name for one in gather(tiles.parent, recipe).sets] == ["other"]


@pytest.mark.parametrize("photo", [r"^(DSC\d+)", r"^IMG1_(x?)"])
def test_a_pattern_that_misses_a_file_is_named(tiles: Path, photo: str) -> None:
    with pytest.raises(OptionError) as caught:
        gather(tiles, _recipe("tiles", photo))
    for word in ("recipe mine: data.tiles.photo", repr(photo), "train/no_crack/IMG1_5.png"):
        assert word in str(caught.value)


def test_a_file_without_a_pattern_is_a_photograph_of_its_own() -> None:
    entry = Entry(Path("a/7071-105_2.jpg"), True)
    assert source_photo(entry, "", origin="") == "7071-105_2"
    assert source_photo(entry, r"^(\d+)-", origin="") == "7071"
    assert source_photo(entry, r"^(.+)_\d$", origin="") == "7071-105"  # without the ending


def test_the_last_of_each_class_are_held_out() -> None:
    names = [f"crack/{number}.jpg" for number in range(1, 11)]
    training, held_out = hold_out(_set(*sorted(names), *(f"no_crack/w{n}.jpg" for n in range(1, 6))), "", origin="")
    assert {held_out.file(entry) for entry in held_out.items} == {"crack/9.jpg", "crack/10.jpg", "no_crack/w5.jpg"}
    assert (training.name, held_out.name) == ("site/train", "site")
    assert len(training.items) == 12


def test_names_of_the_same_number_have_an_order_too() -> None:
    names = [f"crack/{'0' * zeros}7.jpg" for zeros in range(12)]
    _, held_out = hold_out(_set(*names), "", origin="")
    assert [held_out.file(entry) for entry in held_out.items] == names[:3], "whatever the order of a set of names is"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=6, max_size=80))
def test_no_photograph_is_on_both_sides(pieces: list[tuple[int, bool]]) -> None:
    names = [f"{'crack' if crack else 'no_crack'}/IMG{photo}_{n}.jpg" for n, (photo, crack) in enumerate(pieces)]
    labelled = _set(*names)
    try:
        training, held_out = hold_out(labelled, PHOTO, origin="")
    except DataError:
        return  # a class has too few photographs
    sides = [{source_photo(entry, PHOTO, origin="") for entry in side.items} for side in (training, held_out)]
    assert not sides[0] & sides[1]
    assert sorted([*training.items, *held_out.items], key=str) == sorted(labelled.items, key=str)
    for crack in {entry.crack for entry in labelled.items}:
        everything = sum(entry.crack is crack for entry in labelled.items)
        held = sum(entry.crack is crack for entry in held_out.items)
        assert HELD_OUT_SHARE * everything <= held < everything


@pytest.mark.parametrize(("names", "photo"), [(("IMG1_1", "IMG1_2", "IMG1_3"), PHOTO), (("1",), "")])
def test_a_class_of_one_photograph_cannot_be_parted(names: tuple[str, ...], photo: str) -> None:
    with pytest.raises(DataError, match=r"site: nothing to validate with: crack/ .*val/"):
        hold_out(_set(*(f"crack/{name}.jpg" for name in names)), photo, origin="")


def test_a_folder_of_two_classes_is_enough(photographs: Path, tmp_path: Path) -> None:
    root = tmp_path / "mytiles"
    shutil.copytree(photographs / "tiles" / "train", root)
    corpus = gather(root, Recipe("mine"))
    (training,), (held_out,) = corpus.sets, corpus.held_out
    assert [held_out.file(entry) for entry in held_out.items] == [
        f"{folder}/{number}.png" for folder in ("crack", "no_crack") for number in (4, 5)
    ]
    assert not {entry.image for entry in training.items} & {entry.image for entry in held_out.items}
    assert "mytiles: no val/ folder, so 4 of 12" in corpus.notes[0]
    assert find_held_out(root, corpus.split_inside) == [held_out]
    for file in corpus.split_inside["mytiles"]:
        (root / file).unlink()
    with pytest.raises(DataError, match=r"none of the photographs that training held out \(mytiles\)"):
        find_held_out(root, corpus.split_inside)


def test_so_is_a_folder_of_such_folders_and_one_with_train_alone(photographs: Path, tmp_path: Path) -> None:
    shutil.copytree(photographs / "tiles" / "train", tmp_path / "plain" / "tiles")
    shutil.copytree(photographs / "masked" / "train", tmp_path / "plain" / "masked")
    shutil.copytree(photographs / "tiles" / "train", tmp_path / "alone" / "train")
    for root, sizes in (("plain", {"masked": (4, 2), "tiles": (8, 4)}), ("alone", {"alone": (8, 4)})):
        corpus = gather(tmp_path / root, Recipe("mine"))
        both = zip(corpus.sets, corpus.held_out, strict=True)
        assert {one.base_name: (len(one.items), len(held.items)) for one, held in both} == sizes


def test_where_there_is_a_val_folder_nothing_else_is_held_out(photographs: Path, tmp_path: Path) -> None:
    shutil.copytree(photographs / "tiles", tmp_path / "tiles")
    shutil.copytree(photographs / "masked" / "train", tmp_path / "masked" / "train")
    shutil.copytree(photographs / "boxed" / "val", tmp_path / "boxed")
    corpus = gather(tmp_path, Recipe("mine"))
    assert {one.base_name: len(one.items) for one in corpus.sets} == {"masked": 6, "tiles": 12}
    assert {one.base_name: len(one.items) for one in corpus.held_out} == {"boxed": 6, "tiles": 12}
    assert [note.split(",")[0] for note in corpus.notes] == ["masked: no val/ folder", "boxed: no train/ folder"]
    aside = {"masked": SetUse(background_only=True), "boxed": SetUse(weight=0)}
    assert gather(tmp_path, Recipe("mine", data=aside)).notes == ()


def test_a_val_folder_without_images_is_not_passed_over(photographs: Path, tmp_path: Path) -> None:
    shutil.copytree(photographs / "tiles" / "train", tmp_path / "tiles" / "train")
    (tmp_path / "tiles" / "val" / "crack").mkdir(parents=True)
    with pytest.raises(DataError, match="no images in crack/"):
        gather(tmp_path, Recipe("mine"))


@pytest.mark.skipif(not (DATA / "seed").is_dir(), reason="the photographs are not here")
def test_the_published_split_shares_photographs() -> None:
    with pytest.raises(DataError, match="seed: 41 of 200"):
        gather(DATA / "seed", _recipe("seed", r"^(IMG_\d+)_"))


@pytest.mark.skipif(not (DATA / "sdnet_walls").is_dir(), reason="the photographs are not here")
def test_pieces_of_real_photographs_stay_together() -> None:
    root = DATA / "sdnet_walls" / "train"
    (labelled,) = gather(root, _recipe("sdnet_walls", r"^(\d+)-")).held_out
    assert 0.2 <= len(labelled.items) / 6344 < 0.3
    assert np.mean([entry.crack is True for entry in labelled.items]) == pytest.approx(2644 / 6344, abs=0.15)
