"""Pictures as files: which, under what names, and what is in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import pytest

from crackedge.edge_runtime import Frame, OutputError
from crackedge.edge_runtime.sinks.pictures import CropSink, ImageSink


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_images_of_the_same_name(scanned: Any, tmp_path: Path) -> None:
    with ImageSink(tmp_path / "marked") as sink:
        for file in ("x/a.jpg", "y/a.jpg", "x/a.png", "x/A.tif", "x/b.jpg"):
            sink.write(*scanned(file=file))
    assert names_in(tmp_path / "marked") == ["A-4.jpg", "a-2.jpg", "a-3.jpg", "a.jpg", "b.jpg"]


@pytest.mark.parametrize("letter", ["x", "ü", "立", "😀"])
def test_names_that_are_too_long_are_shortened(letter: str, scanned: Any, tmp_path: Path) -> None:
    long = letter * (251 // len(letter.encode()))
    files = [f"{folder}/{long}.jpg" for folder in "abc"]
    for again in (1, 2):
        with (
            CropSink(tmp_path / "crops") as crops,
            ImageSink(tmp_path / "marked") as images,
            ImageSink(tmp_path / "resumed", earlier=files[:2]) as resumed,
        ):
            for file in files:
                crops.write(*scanned(cracks=2, file=file))
                images.write(*scanned(file=file))
            resumed.write(*scanned(file=files[2]))
        assert len(names_in(tmp_path / "crops")) == again * 6
    marked = names_in(tmp_path / "marked")
    assert f"{long}.jpg" in marked
    assert len(marked) == 3
    assert set(names_in(tmp_path / "resumed")) < set(marked)
    endings = {"-1.jpg", "-2.jpg", *(f"-{crop}-{copy}.jpg" for crop in (1, 2) for copy in range(2, 7))}
    assert {name.lstrip(letter) for name in names_in(tmp_path / "crops")} == endings
    assert all(240 < len(os.fsencode(name)) <= 255 for name in (*marked, *names_in(tmp_path / "crops")))


def test_names_that_are_no_utf_8(scanned: Any, tmp_path: Path) -> None:
    with ImageSink(tmp_path / "marked") as sink:
        sink.write(*scanned(file="x/bad\udcff.png"))
    assert names_in(tmp_path / "marked") == [r"bad\udcff.jpg"], "as in the records"


def test_an_image_folder_that_cannot_be_made(scanned: Any, tmp_path: Path) -> None:
    (tmp_path / "marked").write_text("in the way")
    with ImageSink(tmp_path / "marked") as sink, pytest.raises(OutputError, match="cannot be written"):
        sink.write(*scanned(file="a.jpg"))


def test_frames_with_cracks_only_and_nothing_replaced(scanned: Any, tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    for _ in range(2):
        sink = ImageSink(
            tmp_path / "a" / "b", cracked_only=True, replace=False, written=lambda path, n: told.append((path.name, n))
        )
        with sink:
            for index in range(4):
                sink.write(*scanned(index, cracks=index % 2))
    assert names_in(tmp_path / "a" / "b") == ["000001-2.jpg", "000001.jpg", "000003-2.jpg", "000003.jpg"]
    assert told == [(name, (tmp_path / "a" / "b" / name).stat().st_size) for name, _ in told]
    assert len(told) == 4


def test_crops_show_the_region_and_a_margin_unmarked(scanned: Any, tmp_path: Path) -> None:
    frame, result = scanned(7, cracks=4)
    frame.image[:] = 255
    x0, y0, x1, y1 = result.regions[1].bbox
    frame.image[y0:y1, x0:x1] = (200, 0, 0)
    with CropSink(tmp_path / "crops") as sink:
        sink.write(frame, result)
        sink.write(*scanned(8))
        sink.write(Frame(frame.image, 9, 0.9, file="x/wall.png"), result)
    assert names_in(tmp_path / "crops") == [
        *(f"000007-{n}.jpg" for n in (1, 2, 3, 4)),
        *(f"wall-{n}.jpg" for n in (1, 2, 3, 4)),
    ]
    crop = cv2.imread(str(tmp_path / "crops" / "000007-2.jpg"))
    assert crop is not None
    assert crop.shape == (32 + 32, 48 + 64, 3), "cut off at the upper edge of the frame"
    red = crop[:, :, 2].astype(int) - crop[:, :, 1] > 100
    assert red[4:28, 36:76].all()
    assert not red[:, :26].any()
    assert not red[38:].any()


def test_a_picture_that_does_not_fit_leaves_nothing(small_disk: Any, scanned: Any) -> None:
    folder = small_disk(kilobytes=16)

    def fill() -> None:
        with CropSink(folder / "crops") as sink:
            for index in range(100):
                sink.write(*scanned(index, cracks=4))

    with pytest.raises(OutputError, match=r"No space left.*free some space"):
        fill()
    for path in (folder / "crops").iterdir():
        assert cv2.imread(str(path)) is not None
