from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crackedge.benchmarks import data_sets
from crackedge.benchmarks.data_sets import (
    find_sets,
    mask_truth,
    mask_windows,
    pictures,
    read_boxes,
    read_mask,
    read_picture,
    read_set,
)
from crackedge.edge_runtime.errors import DataError
from crackedge.edge_runtime.lattice import TILE
from crackedge.edge_runtime.sources.source import Skipped

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


def save(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)


def colours(height: int, width: int) -> npt.NDArray[np.uint8]:
    """A picture whose pixels tell where they are: red is the column, green the row."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = np.arange(width) * 255 // max(1, width - 1)
    picture[..., 1] = (np.arange(height) * 255 // max(1, height - 1))[:, None]
    return picture


def masked(folder: Path, stem: str, size_hw: tuple[int, int], *, rows: int | None = None) -> npt.NDArray[np.uint8]:
    mask = np.zeros(size_hw, np.uint8)
    mask[100:104, : size_hw[1] // 2] = 255
    save(folder / "images" / f"{stem}.png", colours(*size_hw))
    save(folder / "masks" / f"{stem}.png", mask[:rows])
    return mask


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of sets, one of each kind."""
    for split in ("train", "val"):
        for label in ("crack", "no_crack"):
            save(tmp_path / "walls" / split / label / f"{split}.png", colours(256, 256))
    save(tmp_path / "old" / "valid" / "crack" / "a.png", colours(224, 224))
    masked(tmp_path / "held_out", "m", (300, 500))
    save(tmp_path / "quay" / "val" / "images" / "q.png", colours(256, 256))
    (tmp_path / "quay" / "val" / "boxes").mkdir()
    (tmp_path / "quay" / "val" / "boxes" / "q.txt").write_text("0 0.5 0.5 0.2 0.1\n")
    (tmp_path / "videos").mkdir()
    (tmp_path / "README.md").write_text("not a set")
    return tmp_path


def test_a_folder_of_sets_gives_each_by_its_own_name_and_kind(root: Path) -> None:
    found = [(s.name, s.kind, len(s.items)) for s in find_sets(root)]
    assert found == [("held_out", "masks", 1), ("old", "classes", 1), ("quay", "boxes", 1), ("walls", "classes", 2)]


def test_training_never_takes_a_set_without_splits_from_a_folder_of_sets(root: Path) -> None:
    assert [s.name for s in find_sets(root, split="train")] == ["walls/train"]
    assert [s.name for s in find_sets(root / "held_out", split="train")] == ["held_out"]


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders that nobody may look into, not even root."""
    folders: list[Path] = []
    stat, iterdir = Path.stat, Path.iterdir

    def refuse(folder: Path, path: Path) -> None:
        if folder in folders:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    def refusing_stat(self: Path, **options: bool) -> os.stat_result:
        refuse(self.parent, self)
        return stat(self, **options)

    def refusing_iterdir(self: Path) -> Iterator[Path]:
        refuse(self, self)
        return iter(list(iterdir(self)))

    monkeypatch.setattr(Path, "stat", refusing_stat)
    monkeypatch.setattr(Path, "iterdir", refusing_iterdir)
    return folders


def test_a_folder_that_nobody_may_look_into_is_passed_over(root: Path, locked: list[Path]) -> None:
    before = find_sets(root)
    for folder in (root / "lost+found", root / "videos" / "lost+found"):
        folder.mkdir()
        locked.append(folder)
    assert find_sets(root) == before
    with pytest.raises(DataError, match=r"no labelled set; .* it holds lost\+found$"):
        find_sets(root / "videos")


@pytest.mark.parametrize("inside", [".", "walls/val/crack"])
def test_a_folder_that_is_needed_and_cannot_be_read_is_named(root: Path, locked: list[Path], inside: str) -> None:
    locked.append(root / inside)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)$") as caught:
        find_sets(root)
    assert str(caught.value).startswith(str(root / inside))


@pytest.mark.parametrize("inside", ["walls", "walls/val"])
def test_one_set_may_be_named_alone(root: Path, inside: str) -> None:
    (walls,) = find_sets(root / inside)
    assert walls.name == "walls"
    assert [(walls.file(entry), entry.crack) for entry in walls.items] == [
        ("crack/val.png", True),
        ("no_crack/val.png", False),
    ]


def test_a_split_folder_named_alone_keeps_its_split_in_the_name(root: Path) -> None:
    assert [s.name for s in find_sets(root / "walls" / "train")] == ["walls/train"]


def test_a_tile_is_the_whole_image_as_rgb(root: Path) -> None:
    entry = find_sets(root / "walls")[0].items[0]
    picture = read_picture(entry)
    assert picture.image.shape == (TILE, TILE, 3)
    assert picture.image.flags.c_contiguous
    assert [(w.x, w.y, w.crack) for w in picture.windows] == [(0, 0, True)]
    right, bottom = picture.image[0, -1], picture.image[-1, 0]
    assert right[0] > 250 > 5 > right[1]  # red grows to the right, green downwards, blue is none
    assert bottom[1] > 250 > 5 > bottom[0]
    assert not picture.image[..., 2].any()
    expected = cv2.resize(colours(256, 256), (TILE, TILE), interpolation=cv2.INTER_AREA)
    assert (picture.image == expected).all()


def test_an_image_with_boxes_is_one_crack_item(root: Path) -> None:
    (quay,) = find_sets(root / "quay")
    picture = read_picture(quay.items[0])
    assert picture.image.shape == (TILE, TILE, 3)
    assert [(w.x, w.y, w.crack) for w in picture.windows] == [(0, 0, True)]


truths = hnp.arrays(np.int8, st.tuples(st.integers(TILE, 420), st.integers(TILE, 420)), elements=st.just(0))


@given(truths, st.lists(st.tuples(st.integers(0, 419), st.integers(0, 419), st.integers(1, 60)), max_size=4))
@settings(max_examples=40, deadline=None)
def test_windows_lie_inside_on_multiples_of_128_and_keep_the_rule(
    truth: data_sets.Truth, strokes: list[tuple[int, int, int]]
) -> None:
    for y, x, length in strokes:
        truth[y : y + 1, x : x + length] = data_sets.CRACK
    height, width = truth.shape
    got = {(w.x, w.y): w.crack for w in mask_windows(truth)}
    for y in range(0, 640, 128):
        for x in range(0, 640, 128):
            if x + 224 > width or y + 224 > height:
                assert (x, y) not in got
                continue
            inner = (
                sum(int(truth[r, c]) for r in range(y + 24, y + 200) for c in range(x + 24, x + 200)) if strokes else 0
            )
            whole = int(truth[y : y + 224, x : x + 224].sum())
            expected = True if inner >= 50 else False if whole == 0 else None
            assert got.get((x, y)) is expected


@pytest.mark.parametrize(("pixels", "expected"), [(50, [True]), (49, []), (0, [False])])
def test_fifty_pixels_in_the_centre_make_a_crack(pixels: int, expected: list[bool]) -> None:
    truth = np.zeros((TILE, TILE), np.int8)
    truth[24, 24 : 24 + pixels] = data_sets.CRACK
    assert [w.crack for w in mask_windows(truth)] == expected
    moved = np.roll(truth, -1, axis=0)  # all of it in the margin: neither
    assert [w.crack for w in mask_windows(moved)] == ([] if pixels else [False])


def test_other_values_are_not_crack_and_missing_rows_are_not_known(tmp_path: Path) -> None:
    mask = np.full((350, 500), 128, np.uint8)
    save(tmp_path / "images" / "road.png", colours(360, 500))
    save(tmp_path / "masks" / "road.png", mask)
    (road,) = find_sets(tmp_path)
    picture = read_picture(road.items[0])
    assert {(w.x, w.y) for w in picture.windows} == {(0, 0), (128, 0), (256, 0)}  # y 128 would end in row 352
    assert not any(w.crack for w in picture.windows)
    assert picture.truth is not None
    assert set(np.unique(picture.truth[350:])) == {data_sets.UNKNOWN}


def test_with_values_named_clear_the_others_say_nothing(tmp_path: Path) -> None:
    mask = np.full((224, 480), 64, np.uint8)
    mask[:, 300:] = 0  # the lane: nobody says that it is sound
    mask[100, 20:140] = 255
    save(tmp_path / "images" / "road.png", colours(224, 480))
    save(tmp_path / "masks" / "road.png", mask)
    (road,) = find_sets(tmp_path, value_clear=(64,))
    ((_, picture),) = pictures(road, [])
    assert [(w.x, w.y, w.crack) for w in picture.windows] == [(0, 0, True)]  # (128, 0) and (256, 0) reach into the lane
    assert picture.truth is not None
    assert set(np.unique(picture.truth[:, 300:])) == {data_sets.UNKNOWN}
    assert set(np.unique(picture.truth[:, 150:300])) == {data_sets.NO_CRACK}
    (both,) = find_sets(tmp_path, value_clear=(64, 0))
    ((_, picture),) = pictures(both, [])
    assert [(w.x, w.crack) for w in picture.windows] == [(0, True), (256, False)]  # (128, 0): crack in its margin


def test_an_image_smaller_than_a_tile_is_padded_by_reflection_with_its_mask(tmp_path: Path) -> None:
    masked(tmp_path, "small", (150, 230))
    picture = read_picture(read_set(tmp_path).items[0])
    assert picture.image.shape == (TILE, 230, 3)
    assert (picture.image[150:224] == picture.image[75:149][::-1]).all()
    assert picture.truth is not None
    assert (picture.truth[150:224] == picture.truth[75:149][::-1]).all()
    assert [(w.x, w.y, w.crack) for w in picture.windows] == [(0, 0, True)]


def test_a_broken_image_is_skipped_and_named(root: Path) -> None:
    broken = root / "walls" / "val" / "crack" / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff not a picture")
    (root / "walls" / "val" / "crack" / "empty.png").touch()
    cut = root / "walls" / "val" / "crack" / "cut.jpg"
    save(cut, colours(256, 256))
    cut.write_bytes(cut.read_bytes()[:2000])  # decoders that do not mind would give its lower part in grey
    (root / "walls" / "val" / "crack" / "._hidden.png").touch()
    (walls,) = find_sets(root / "walls")
    skipped: list[Skipped] = []
    read = [walls.file(entry) for entry, _ in pictures(walls, skipped)]
    assert read == ["crack/val.png", "no_crack/val.png"]
    assert [s.file for s in skipped] == ["crack/broken.jpg", "crack/cut.jpg", "crack/empty.png"]
    assert str(broken) in skipped[0].reason
    assert "truncated" in skipped[1].reason


def test_a_broken_mask_is_skipped_and_named(tmp_path: Path) -> None:
    masked(tmp_path, "good", (300, 300))
    masked(tmp_path, "torn", (300, 300))
    (tmp_path / "masks" / "torn.png").write_bytes(b"\x89PNG nothing more")
    skipped: list[Skipped] = []
    read = [entry.image.stem for entry, _ in pictures(find_sets(tmp_path)[0], skipped)]
    assert read == ["good"]
    assert [s.file for s in skipped] == ["images/torn.png"]
    assert "masks/torn.png: not a mask" in skipped[0].reason


def test_an_image_without_its_mask_is_skipped_and_named(tmp_path: Path) -> None:
    masked(tmp_path, "good", (300, 300))
    save(tmp_path / "images" / "lonely.png", colours(300, 300))
    (found,) = find_sets(tmp_path)
    assert [entry.image.stem for entry in found.items] == ["good"]
    assert found.skipped == (Skipped("images/lonely.png", "has no masks/lonely.png"),)


def test_an_image_whose_boxes_are_none_or_malformed_is_no_crack_item(root: Path) -> None:
    boxes = root / "quay" / "val" / "boxes"
    texts = {"none": "", "pixels": "0 12 40 30 30", "words": "0 a b c d", "short": "0 0.5 0.5\n0 0.5 0.5\n"}
    texts["outline"] = "0 0.5 0.5 0.1 0.1\n0 0.1 0.1 0.9 0.1 0.9 0.2\n"
    for stem, text in texts.items():
        save(root / "quay" / "val" / "images" / f"{stem}.png", colours(256, 256))
        (boxes / f"{stem}.txt").write_text(text)
    (quay,) = find_sets(root / "quay")
    skipped: list[Skipped] = []
    assert [entry.image.stem for entry, _ in pictures(quay, skipped)] == ["q"]
    whys = {s.file: s.reason for s in skipped}
    assert "no box" in whys["images/none.png"]
    assert "relative" in whys["images/pixels.png"]
    assert "class cx cy w h" in whys["images/words.png"]
    assert "class cx cy w h" in whys["images/short.png"]
    assert "a polygon; expected lines of `class cx cy w h`" in whys["images/outline.png"]
    (boxes / "q.txt").write_text("0 0.5 0.5 0.2 0.1 0.87\n")
    assert read_boxes(boxes / "q.txt").tolist() == [[0.5, 0.5, 0.2, 0.1]], "a confidence behind them is none of it"


@pytest.mark.parametrize(
    ("shape", "value", "complaint"),
    [
        ((200, 300), 1, "multiply"),
        ((210, 300), 255, "same size"),
        ((179, 300), 255, "same size, but for a tenth of the rows"),
        ((200, 269), 255, "same size"),
        ((196, 294), 255, "same size"),  # of another scale: its upper-left corner would be pinned to the image's
    ],
)
def test_a_mask_that_cannot_fit_is_refused(shape: tuple[int, int], value: int, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        mask_truth(np.full(shape, value, np.uint8), (200, 300), origin="m.png")


@pytest.mark.parametrize("shape", [(180, 300), (200, 270), (200, 300), (198, 299)])
def test_a_tenth_of_a_mask_may_be_missing_on_one_side(shape: tuple[int, int]) -> None:
    truth = mask_truth(np.zeros(shape, np.uint8), (200, 300), origin="m.png")
    assert (truth == data_sets.NO_CRACK).sum() == shape[0] * shape[1], "all of it 0 is crack-free"


@pytest.mark.parametrize("form", ["1", "L", "LA", "RGB", "P", "I;16"])
def test_a_mask_is_read_by_its_values_whatever_its_form(tmp_path: Path, form: str) -> None:
    values = np.zeros((40, 60), np.uint8)
    values[10:20] = 255
    grey = PIL.Image.fromarray(values)
    image = PIL.Image.fromarray(values.astype(np.uint16)) if form == "I;16" else grey.convert(form)
    assert image.mode == form
    image.save(tmp_path / "mask.png")
    assert (read_mask(tmp_path / "mask.png") == values).all()
    if form == "I;16":
        PIL.Image.fromarray(values.astype(np.uint16) * 257).save(tmp_path / "mask.png")
        assert (read_mask(tmp_path / "mask.png") == values).all()


@pytest.mark.parametrize("palette", [True, False])
def test_a_mask_in_colours_is_refused(tmp_path: Path, palette: bool) -> None:
    image = PIL.Image.new("RGB", (60, 40))
    image.paste((128, 0, 0), (10, 10, 30, 20))
    (image.convert("P") if palette else image).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=r"mask\.png: a mask in colours; expected grey, 255 where"):
        read_mask(tmp_path / "mask.png")


def test_every_unusable_folder_says_what_is_wrong(root: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        find_sets(root / "nowhere")
    with pytest.raises(DataError, match="not a folder"):
        find_sets(root / "README.md")
    with pytest.raises(DataError, match="expected crack/"):
        find_sets(root / "videos")
    (root / "raw" / "train" / "Positive").mkdir(parents=True)
    with pytest.raises(DataError, match=r"it holds train, train/Positive$"):
        find_sets(root / "raw")
    (root / "raw").rename(root / "videos" / "raw")
    with pytest.raises(DataError, match=r"it holds raw, raw/train/Positive$"):
        find_sets(root / "videos", split="train")
    with pytest.raises(DataError, match="no set with the split 'test'; there are: train, val"):
        find_sets(root / "walls", split="test")
    (root / "empty" / "val" / "crack").mkdir(parents=True)
    with pytest.raises(DataError, match=r"empty.*no images in crack/ and no_crack/"):
        find_sets(root)
    save(root / "bare" / "images" / "a.png", colours(224, 224))
    with pytest.raises(DataError, match="without masks/ or boxes/"):
        find_sets(root / "bare")
    (root / "bare" / "masks").mkdir()
    with pytest.raises(DataError, match="none of its 1 images has a file in masks/"):
        find_sets(root / "bare")


@pytest.mark.skipif(not DATA.is_dir(), reason="the photographs are not here")
def test_the_photographs_are_found_as_their_readme_says() -> None:
    sizes = {s.name: len(s.items) for s in find_sets(DATA)}
    assert sizes == {
        "frames": 60,
        "metu": 1000,
        "port_quay": 72,
        "sdnet_walls": 915,
        "seed": 200,
        "uav_cc0": 63,
        "uavcrack": 272,
    }
    assert "frames" not in {s.name for s in find_sets(DATA, split="train")}
