from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("keras", reason="the workstation's packages are not installed")

from crackedge.benchmarks.data_sets import find_sets, read_image, read_mask
from crackedge.edge_runtime.errors import DataError, OptionError, OutputError
from crackedge.train.corpus import Corpus, gather
from crackedge.train.errors import TrainingStopped
from crackedge.train.fit import fit, resume
from crackedge.train.pack import QUALITIES, _evenly, opened, write_pack
from crackedge.train.recipe import Recipe, SetUse, load_recipe

Crackedge = Callable[..., "subprocess.CompletedProcess[str]"]
_PLENTY = 50_000_000


@pytest.fixture(scope="module")
def corpus(photographs: Path) -> Corpus:
    return gather(photographs, Recipe("mine"))


@pytest.fixture(scope="module")
def sizes(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """Bytes of the pack at each quality, everything kept."""
    folder, found = tmp_path_factory.mktemp("sizes"), []
    most = _PLENTY
    for quality in QUALITIES:
        packed = write_pack(corpus, folder / f"{quality}.zip", most_bytes=most)
        assert packed.quality == quality
        assert all(kept == there for kept, there in packed.kept.values())
        assert packed.size == (folder / f"{quality}.zip").stat().st_size <= most
        found.append(packed.size)
        most = packed.size - 1  # the next quality has to do
    return found


def test_what_comes_out_is_what_went_in(photographs: Path, corpus: Corpus, tmp_path: Path) -> None:
    packed = write_pack(corpus, tmp_path / "all.zip", most_bytes=_PLENTY)
    assert packed.kept["tiles/train"] == (12, 12)
    assert packed.skipped == {}
    with opened(packed.path) as root:
        assert root.name == "all"
        for split in ("train", "val"):
            before, after = find_sets(photographs, split=split), find_sets(root, split=split)
            assert [(one.name, one.kind) for one in before] == [(one.name, one.kind) for one in after]
            for one, other in zip(before, after, strict=True):
                for was, now in zip(one.items, other.items, strict=True):
                    assert (was.image.stem, was.crack) == (now.image.stem, now.crack)
                    difference = read_image(was.image).astype(int) - read_image(now.image)
                    assert np.abs(difference).mean() < 4
                    if one.kind == "masks":
                        assert was.truth is not None
                        assert now.truth is not None
                        assert (read_mask(was.truth) == read_mask(now.truth)).all()
                    if one.kind == "boxes":
                        assert was.truth is not None
                        assert now.truth is not None
                        assert was.truth.read_text() == now.truth.read_text()
    assert not root.exists()


def test_the_same_photographs_give_the_same_file(corpus: Corpus, tmp_path: Path) -> None:
    for most in (_PLENTY, 150_000):
        first, second = (write_pack(corpus, tmp_path / f"{most}{n}.zip", most_bytes=most).path for n in "ab")
        assert first.read_bytes() == second.read_bytes()


def test_quality_gives_way_before_count(sizes: list[int]) -> None:
    assert sizes == sorted(sizes, reverse=True)  # the fixture holds what else there is to say


@pytest.mark.parametrize("share", [0.95, 0.6, 0.3])
def test_then_every_class_of_every_set_gives_way_evenly(
    corpus: Corpus, sizes: list[int], tmp_path: Path, share: float
) -> None:
    most = int(share * sizes[-1])
    packed = write_pack(corpus, tmp_path / "small.zip", most_bytes=most)
    assert 0.7 * most < packed.size <= most
    assert packed.quality == QUALITIES[-1]
    with zipfile.ZipFile(packed.path) as written:
        folders = [str(Path(name).parent) for name in written.namelist()]
        images = {folder: folders.count(folder) for folder in folders if not folder.endswith(("masks", "boxes"))}
    assert len(images) == 8
    tiles = [count for folder, count in images.items() if "crack" in folder]
    assert max(tiles) - min(tiles) <= 1
    assert sum(images.values()) == sum(kept for kept, _ in packed.kept.values()) < 48
    with opened(packed.path) as root:
        gather(root, Recipe("mine"))


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=60), st.integers(1, 5000))
def test_something_is_kept_where_anything_fits(sizes: list[int], most: int) -> None:
    chosen = _evenly(sizes, most)
    assert sum(sizes[index] for index in chosen) <= most
    assert sorted(set(chosen)) == chosen
    assert bool(chosen) == (min(sizes) <= most)


def test_a_few_large_photographs_do_not_keep_a_small_one_out() -> None:
    assert _evenly([10] * 6 + [1000] * 4, 15) == [5]
    assert _evenly([1000] * 6 + [10] * 4, 15) == [6]


def test_names_that_are_no_utf_8(photographs: Path, tmp_path: Path) -> None:
    root = tmp_path / "masked"
    shutil.copytree(photographs / "masked", root)
    for folder in ("images", "masks"):
        (root / "train" / folder / "0.png").rename(root / "train" / folder / os.fsdecode(b"W\xe4nd.png"))
    packed = write_pack(gather(root, Recipe("mine")), tmp_path / "p.zip", most_bytes=_PLENTY)
    assert packed.kept["masked/train"] == (6, 6)
    with zipfile.ZipFile(packed.path) as written:
        assert {"masked/train/images/W%E4nd.jpg", "masked/train/masks/W%E4nd.png"} < set(written.namelist())


def test_a_jpeg_that_is_smaller_stays_as_it_is(photographs: Path, tmp_path: Path) -> None:
    root = tmp_path / "tiles"
    shutil.copytree(photographs / "tiles", root)
    small = root / "train" / "crack" / "0.jpg"
    tile = cv2.imread(str(root / "train" / "crack" / "0.png"))
    assert tile is not None
    assert cv2.imwrite(str(small), tile, [cv2.IMWRITE_JPEG_QUALITY, 30])
    packed = write_pack(gather(root, Recipe("mine")), tmp_path / "tiles.zip", most_bytes=_PLENTY)
    with zipfile.ZipFile(packed.path) as written:
        names = [name for name in written.namelist() if name.startswith("tiles/train/crack/0")]
        assert names == ["tiles/train/crack/0.jpg", "tiles/train/crack/0_.jpg"]  # beside 0.png
        assert written.read(names[0]) == small.read_bytes()


def test_what_training_leaves_out_is_left_out(photographs: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(photographs, root)
    shutil.copy(root / "tiles" / "val" / "crack" / "0.png", root / "tiles" / "train" / "crack" / "copy.png")
    recipe = Recipe("mine", data={"masked": SetUse(weight=0)})
    packed = write_pack(gather(root, recipe), tmp_path / "p.zip", most_bytes=_PLENTY)
    assert packed.kept == {name: (n, n) for name, n in _counts(boxed=6, tiles=12, masked=6).items()}
    packed = write_pack(gather(root / "tiles" / "train", recipe), tmp_path / "q.zip", most_bytes=_PLENTY)
    assert packed.kept == {"tiles/train": (9, 9), "tiles/val": (4, 4)}


def _counts(**photographs_of_a_split: int) -> dict[str, int]:
    names = {f"{name}/{split}": n for split in ("train", "val") for name, n in photographs_of_a_split.items()}
    del names["masked/train"]
    return {name: names[name] for name in ("boxed/train", "tiles/train", "boxed/val", "masked/val", "tiles/val")}


def test_a_photograph_that_cannot_be_read_is_named(photographs: Path, tmp_path: Path) -> None:
    root = tmp_path / "masked"
    shutil.copytree(photographs / "masked", root)
    broken = [root / "train" / "images" / "1.png", root / "val" / "masks" / "2.png"]
    for path in broken:
        path.write_bytes(b"broken")
    packed = write_pack(gather(root, Recipe("mine")), tmp_path / "p.zip", most_bytes=_PLENTY)
    assert packed.kept == {"masked/train": (5, 6), "masked/val": (5, 6)}
    assert list(packed.skipped) == [str(broken[0]), str(root / "val" / "images" / "2.png")]
    for path in (root / "train" / "images").iterdir():
        path.write_bytes(b"broken")
    for path in (root / "val" / "images").iterdir():
        path.write_bytes(b"broken too")
    with pytest.raises(DataError, match="12 of 12 photographs cannot be read"):
        write_pack(gather(root, Recipe("mine")), tmp_path / "q.zip", most_bytes=_PLENTY)


def test_a_bound_that_is_too_small_names_one_that_is_not(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"--pack-mb 0\.01: too small") as caught:
        write_pack(corpus, tmp_path / "p.zip", most_bytes=10_000)
    assert list(tmp_path.iterdir()) == []
    least = float(str(caught.value).rsplit(" ", 1)[1])
    packed = write_pack(corpus, tmp_path / "p.zip", most_bytes=int(least * 1e6))
    assert all(kept for kept, _ in packed.kept.values())


def test_a_file_that_exists_is_left_alone(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "p.zip").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"p\.zip: exists already"):
        write_pack(corpus, tmp_path / "p.zip", most_bytes=_PLENTY)
    with pytest.raises(OutputError, match="nowhere: no such folder"):
        write_pack(corpus, tmp_path / "nowhere" / "p.zip", most_bytes=_PLENTY)
    assert (tmp_path / "p.zip").read_bytes() == b"mine"


def test_a_file_that_exists_is_named_before_photographs_are_compared(tmp_path: Path, crackedge: Crackedge) -> None:
    (tmp_path / "p.zip").write_bytes(b"mine")
    done = crackedge("train", "--data-root", tmp_path / "nothing", "--pack", tmp_path / "p.zip")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"crackedge: {tmp_path / 'p.zip'}: exists already; give another --pack\n"


def test_a_full_disk_leaves_nothing_half_written(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OutputError, match=r"p\.zip: cannot be written \(No space left on device\)"):
        write_pack(corpus, tmp_path / "p.zip", most_bytes=_PLENTY)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where packs are unpacked."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_folder_is_opened_as_it_is(tmp_path: Path, scratch: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with opened(path) as root:
            assert root == path
            assert list(scratch.iterdir()) == []


def test_a_set_zipped_by_hand_is_named_after_its_file(photographs: Path, tmp_path: Path, scratch: Path) -> None:
    file = Path(shutil.make_archive(str(tmp_path / "mytiles"), "zip", photographs / "tiles" / "train"))
    with zipfile.ZipFile(file, "a") as added:
        added.writestr("__MACOSX/crack/._0.png", b"Finder")
    with opened(file) as root:
        corpus = gather(root, Recipe("mine"))
        assert sorted(path.name for path in root.iterdir()) == ["crack", "no_crack"]
    assert [one.base_name for one in corpus.sets] == ["mytiles"]
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/tmp/evil.txt", "C:/evil.txt", "..\\evil.txt"])
def test_a_member_that_would_lie_outside_is_refused(tmp_path: Path, scratch: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as written:
        written.writestr("crack/fine.txt", "fine")
        written.writestr(name, "evil")
    with pytest.raises(DataError, match=r"evil\.zip: its member .*evil\.txt.* outside"), opened(tmp_path / "evil.zip"):
        pass
    assert list(scratch.iterdir()) == []
    assert not list(tmp_path.glob("**/evil.txt"))


def test_what_cannot_be_unpacked_is_named(corpus: Corpus, tmp_path: Path, scratch: Path) -> None:
    good = write_pack(corpus, tmp_path / "good.zip", most_bytes=_PLENTY).path.read_bytes()
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 255
    encrypted = good.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00")
    files = {"text": b"no zip", "cut": good[: len(good) // 2], "damaged": bytes(damaged), "encrypted": encrypted}
    for name, content in {**files, "empty": b""}.items():
        (tmp_path / f"{name}.zip").write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}\.zip: cannot be unpacked \(.*--pack"):  # noqa: SIM117
            with opened(tmp_path / f"{name}.zip"):
                pass
        assert list(scratch.iterdir()) == []


def test_a_pack_larger_than_the_disk_is_not_begun(
    corpus: Corpus, tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_pack(corpus, tmp_path / "p.zip", most_bytes=_PLENTY).path
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    with pytest.raises(DataError, match=rf"holds \d+ MB, and {scratch} has 0 MB free.*TMPDIR"), opened(file):
        pass


def test_what_is_unpacked_goes_when_training_fails(corpus: Corpus, tmp_path: Path, scratch: Path) -> None:
    file = write_pack(corpus, tmp_path / "p.zip", most_bytes=_PLENTY).path
    with pytest.raises(OptionError, match=r"nowhere\.h5"):
        fit(file, tmp_path / "run", load_recipe("nano"), weights="nowhere.h5")
    assert list(scratch.iterdir()) == []


@pytest.mark.usefixtures("mean_of_cells")
def test_the_command_writes_a_pack_and_trains_from_it(photographs: Path, tmp_path: Path, crackedge: Crackedge) -> None:
    root, file, run = tmp_path / "data", tmp_path / "data.zip", tmp_path / "run"
    shutil.copytree(photographs / "tiles", root / "tiles")
    shutil.copy(root / "tiles" / "val" / "crack" / "3.png", root / "tiles" / "train" / "crack" / "x.png")
    done = crackedge("train", "--data-root", str(root), "--pack", str(file), "--pack-mb", "0.05")
    assert done.returncode == 0, done.stderr
    assert "left out of training: tiles 1" in done.stderr
    assert f" MB, JPEG quality 70. Next: crackedge train --recipe nano --data-root {file}" in done.stdout
    assert "tiles/train: " in done.stdout
    assert "tiles/train: 12 of 12" not in done.stdout
    assert file.stat().st_size <= 50_000

    recipe = load_recipe("nano", canvas_px=224, head_epochs=1, epochs=0, steps_per_epoch=1, batch=1)
    notes: list[str] = []
    shutil.copy(file, tmp_path / "more.zip")
    with zipfile.ZipFile(tmp_path / "more.zip", "a") as more:
        more.write(root / "tiles" / "val" / "crack" / "3.png", "tiles/train/crack/3_.png")
        more.write(root / "tiles" / "val" / "crack" / "3.png", "tiles/val/crack/3_.png")
    fit(tmp_path / "more.zip", run, recipe, gathered=lambda corpus: notes.extend(corpus.notes))
    config = json.loads((run / "config.json").read_text())
    assert config["data_root"] == str(tmp_path / "more.zip")
    assert config["leaks"]["copies_left_out"][-1]["training"] == "tiles/train/crack/3_.png"
    assert len(notes) == 1


@pytest.mark.usefixtures("mean_of_cells")
def test_a_run_goes_on_with_its_pack_and_the_leak_that_it_was_allowed(
    photographs: Path, tmp_path: Path, scratch: Path
) -> None:
    file = Path(shutil.make_archive(str(tmp_path / "tiles"), "zip", photographs / "tiles"))
    recipe = Recipe("mine", alpha=0.35, canvas_px=224, head_epochs=1, epochs=0, steps_per_epoch=1, batch=1)
    recipe = replace(recipe, data={"tiles": SetUse(photo=r"^(\d)")})  # both splits have photographs 0 to 5
    with pytest.raises(DataError, match="tiles: 12 of 12"):
        fit(file, tmp_path / "run", recipe)
    with pytest.raises(TrainingStopped):
        fit(file, tmp_path / "run", recipe, allow_leak=True, stop=lambda: True)
    assert list(scratch.iterdir()) == []
    trained = resume(tmp_path / "run")
    assert (trained.data_root, trained.epochs) == (file, 1)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["leaks"]["allowed"] is True


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pack", "p.zip"], "--data-root"),
        (["--data-root", ".", "--pack-mb", "3"], "--pack FILE.zip"),
        (["--data-root", ".", "--pack", "p.zip", "--epochs", "3"], "leave out --epochs"),
    ],
)
def test_wrong_use_is_said(crackedge: Crackedge, arguments: list[str], words: str) -> None:
    done = crackedge("train", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
