from __future__ import annotations

import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from crackedge.benchmarks.data_sets import find_sets
from crackedge.edge_runtime.errors import OptionError, ProofError, SourceError
from crackedge.edge_runtime.sources.opening import open_source
from crackedge.export import representative
from crackedge.export.representative import from_footage, from_sets

FOOTAGE = "scene:concrete?seed=3&frames={}&size={}"


def test_pictures_are_mosaics_of_both_classes_evenly_over_the_sets(photographs: Path) -> None:
    found = from_sets(find_sets(photographs), 6)
    assert len(found.pictures) == 4  # three files in each half: two pictures of `tiles`, one of each of the others
    assert {picture.shape for picture in found.pictures} == {(448, 448, 3)}
    assert found.source == "first half of the validation photographs of boxed, masked, tiles"
    tiles = found.tiles()
    assert len(tiles) == 16
    assert np.array_equal(tiles[1], found.pictures[0][:224, 224:])


def test_only_the_half_that_gives_no_figures_is_looked_at(photographs: Path, tmp_path: Path) -> None:
    root = tmp_path / "tiles"
    shutil.copytree(photographs / "tiles" / "val", root)
    for folder in ("crack", "no_crack"):
        for file in sorted((root / folder).iterdir())[3:]:
            file.write_bytes(b"not to be read")
    whole = from_sets(find_sets(photographs / "tiles"), 4).pictures
    assert np.array_equal(from_sets(find_sets(root), 4).pictures, whole)


def test_large_photographs_give_pieces_as_the_scan_sees_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number in range(4):
        image = cv2.GaussianBlur(rng.integers(0, 256, (512, 640, 3), dtype=np.uint8), (0, 0), 3)
        mask = np.zeros((512, 640), np.uint8)
        mask[200:260, 60:600] = 255 * (number % 2)
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), image)
        cv2.imwrite(str(tmp_path / "masks" / f"{number}.png"), mask)
    (one,) = find_sets(tmp_path)
    found = from_sets([one], 2).pictures
    assert len(found) == 2
    read = cv2.imread(str(tmp_path / "images" / "0.png"))
    assert read is not None
    assert np.array_equal(found[0], read[:448, :448, ::-1])
    assert all(picture.base is None for picture in found), "a view would keep the photograph"


def test_one_class_alone_is_refused(photographs: Path, tmp_path: Path) -> None:
    for folder, what in (("crack", "only tiles with cracks"), ("no_crack", "no tile with a crack")):
        root = tmp_path / folder
        shutil.copytree(photographs / "tiles" / "val" / folder, root / folder)
        with pytest.raises(ProofError, match=f"calibration from {folder}: {what}; quantisation needs both classes"):
            from_sets(find_sets(root), 8)


def _noise(root: Path, count: int) -> Path:
    rng = np.random.default_rng(4)
    root.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(root / f"{number}.png"), rng.integers(0, 256, (224, 224, 3), dtype=np.uint8))
    return root


def test_noise_is_refused_as_photographs_and_as_footage(tmp_path: Path) -> None:
    _noise(tmp_path / "set" / "crack", 4)
    _noise(tmp_path / "set" / "no_crack", 4)
    with pytest.raises(ProofError, match=r"correlation of -?0\.0\d, photographs more than 0\.3: noise, or blank"):
        from_sets(find_sets(tmp_path / "set"), 8)
    with pytest.raises(ProofError, match="noise, or blank"):
        from_footage(str(_noise(tmp_path / "footage", 16)), 8)


def test_blank_footage_is_refused(tmp_path: Path) -> None:
    for number in range(16):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((240, 320, 3), 9, np.uint8))
    with pytest.raises(ProofError, match="noise, or blank"):
        from_footage(str(tmp_path), 8)


@pytest.mark.parametrize(("frames", "wanted"), [(16, 24), (40, 8)])
def test_footage_gives_pieces_spread_over_its_frames(frames: int, wanted: int) -> None:
    found = from_footage(FOOTAGE.format(frames, "640x480"), wanted)
    assert len(found.pictures) == wanted
    assert {picture.shape for picture in found.pictures} == {(448, 448, 3)}
    assert len({picture.tobytes() for picture in found.pictures}) == wanted, "all different"
    assert f"of the {frames} frames" in found.source


def test_of_footage_only_pieces_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    images: list[weakref.ref[Any]] = []
    most = 0

    class Watched:
        def __init__(self, text: str) -> None:
            self.name, self._source = text, open_source(text)

        def __enter__(self) -> Watched:
            return self

        def __exit__(self, *_: object) -> None: ...

        def __iter__(self) -> Iterator[Any]:
            nonlocal most
            for frame in self._source:
                images.append(weakref.ref(frame.image))
                most = max(most, sum(image() is not None for image in images))
                yield frame

    monkeypatch.setattr(representative, "open_source", Watched)
    found = from_footage(FOOTAGE.format(24, "640x480"), 8)
    assert most <= 4
    assert all(picture.base is None for picture in found.pictures)


def test_small_frames_are_filled_up_as_the_scan_does() -> None:
    pictures = from_footage(FOOTAGE.format(16, "320x256"), 4).pictures
    assert np.array_equal(pictures[0][256:, :320], pictures[0][255 - 1 : 255 - 193 : -1, :320])


def test_unfit_footage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProofError, match="5 frames; calibration needs at least 16"):
        from_footage(FOOTAGE.format(5, "320x256"), 8)
    with pytest.raises(SourceError, match=r"nothing\.mp4"):
        from_footage(str(tmp_path / "nothing.mp4"), 8)
    for live in ("0", "rtsp://user:secret@camera/1"):
        with pytest.raises(OptionError, match="a live source; calibrate from a file") as caught:
            from_footage(live, 8)
        assert "secret" not in str(caught.value)
