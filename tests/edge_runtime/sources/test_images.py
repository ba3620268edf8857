"""Photos in any mode and orientation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

from crackedge.edge_runtime import SourceError, open_source
from crackedge.edge_runtime.sources.images import read_image
from crackedge.edge_runtime.sources.source import SourceOptions

RED = (255, 0, 0)


def marked_corner() -> npt.NDArray[np.uint8]:
    """Grey, wider than high, with a red upper left corner."""
    image = np.full((20, 30, 3), 100, np.uint8)
    image[:5, :5] = RED
    return image


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, "top left"), (2, "top right"), (3, "bottom right"), (4, "bottom left"), (5, "top left"), (6, "top right"),
     (7, "bottom right"), (8, "bottom left")],
)  # fmt: skip
def test_every_exif_orientation_is_shown_upright(orientation: int, corner: str, tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    PIL.Image.fromarray(marked_corner()).save(tmp_path / "p.png", exif=exif)
    image = read_image(tmp_path / "p.png")
    assert image.shape == ((20, 30, 3) if orientation < 5 else (30, 20, 3))
    row = 0 if corner.startswith("top") else -1
    col = 0 if corner.endswith("left") else -1
    assert tuple(image[row, col]) == RED
    assert (image == RED).all(2).sum() == 25


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    suffix = {"CMYK": "tif", "YCbCr": "jpg"}.get(mode, "png")
    PIL.Image.new("L", (8, 6), 255).convert("RGB").convert(mode).save(tmp_path / f"p.{suffix}")
    image = read_image(tmp_path / f"p.{suffix}")
    assert image.dtype == np.uint8
    assert image.shape == (6, 8, 3)
    assert image.flags.c_contiguous
    assert (image >= 254).all()


def test_16_bits_keep_their_whole_range(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16)
    PIL.Image.fromarray(np.tile(ramp, (4, 1))).save(tmp_path / "deep.png")
    PIL.Image.fromarray(np.tile(ramp, (4, 1))).save(tmp_path / "deep.tif")
    for name in ("deep.png", "deep.tif"):
        image = read_image(tmp_path / name)
        assert image.shape == (4, 256, 3)
        assert (image[0, :, 0] == np.arange(256)).all(), name


@pytest.mark.parametrize(("bits", "said"), [(8, True), (12, True), (13, False), (16, False)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_of_which_only_12_are_used(bits: int, said: bool, suffix: str, tmp_path: Path) -> None:
    ramp = np.linspace(0, 2**bits - 1, 256).round().astype(np.uint16)
    PIL.Image.fromarray(np.tile(ramp, (4, 1))).save(tmp_path / f"grey.{suffix}")
    assert cv2.imwrite(str(tmp_path / f"rgb.{suffix}"), np.tile(ramp[:, None], (4, 1, 3)))
    for name in (f"grey.{suffix}", f"rgb.{suffix}"):
        warnings: list[str] = []
        read_image(tmp_path / name, on_warning=warnings.append)
        assert [line.startswith(f"{tmp_path / name}: a 16-bit picture") for line in warnings] == [True] * said, name


def test_8_bits_may_be_dark(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (8, 8), (3, 3, 3)).save(tmp_path / "night.png")
    warnings: list[str] = []
    read_image(tmp_path / "night.png", on_warning=warnings.append)
    assert warnings == []


@pytest.mark.parametrize(("types", "pages"), [((0, 0, 0), 3), ((2, 2), 2), ((0, 1, 1, 4), 1), ((0,), 1)])
def test_pages_of_a_tiff(types: tuple[int, ...], pages: int, tmp_path: Path) -> None:
    """Smaller copies and masks, as maps have them, are no pages."""
    images = [PIL.Image.new("RGB", (12, 8), (200, 10 * number, 0)) for number in range(len(types))]
    for image, kind in zip(images, types, strict=True):
        image.encoderinfo = {"tiffinfo": {254: kind}}
    images[0].save(tmp_path / "p.tif", save_all=True, append_images=images[1:], tiffinfo={254: types[0]})
    warnings: list[str] = []
    first = read_image(tmp_path / "p.tif", on_warning=warnings.append)
    assert tuple(first[0, 0]) == (200, 0, 0)
    if pages == 1:
        assert warnings == []
    else:
        assert [line.split("; ")[0] for line in warnings] == [
            f"{tmp_path / 'p.tif'}: has {pages} pages, the first is scanned"
        ]


def test_a_tiff_whose_further_pages_are_broken(tmp_path: Path) -> None:
    pages = [PIL.Image.new("RGB", (12, 8), (200, 0, 0)) for _ in range(2)]
    pages[0].save(tmp_path / "p.tif", save_all=True, append_images=pages[1:])
    data = (tmp_path / "p.tif").read_bytes()
    (tmp_path / "p.tif").write_bytes(data[: len(data) // 2 + 10])  # in the directory of the second
    warnings: list[str] = []
    assert read_image(tmp_path / "p.tif", on_warning=warnings.append).shape == (8, 12, 3)
    assert warnings == []


def test_pictures_in_pairs_have_no_pages(tmp_path: Path) -> None:
    pair = [PIL.Image.new("RGB", (12, 8), (200, 0, 0)) for _ in range(2)]
    pair[0].save(tmp_path / "p.jpg", "MPO", save_all=True, append_images=pair[1:])
    warnings: list[str] = []
    read_image(tmp_path / "p.jpg", on_warning=warnings.append)
    assert warnings == []


def test_remarks_are_made_once(tmp_path: Path) -> None:
    pages = [PIL.Image.new("RGB", (12, 8)) for _ in range(2)]
    for name in ("a.tif", "b.tif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    (tmp_path / "c.heic").write_bytes(b"")
    with open_source(tmp_path, SourceOptions(rotate=90)) as source:
        for _ in range(2):
            list(source)
        remarks = source.remarks
    assert [line.removeprefix(str(tmp_path)).partition(": ")[0] for line in remarks] == ["", "/a.tif", "/b.tif"]


def test_transparent_parts_are_grey_and_hide_what_lies_under_them(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2] = (200, 10, 10, 255)
    pixels[2:] = (255, 255, 255, 0)
    PIL.Image.fromarray(pixels).save(tmp_path / "p.png")
    image = read_image(tmp_path / "p.png")
    assert tuple(image[0, 0]) == (200, 10, 10)
    assert tuple(image[3, 3]) == (127, 127, 127)


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    PIL.Image.new("F", (4, 4), 0.5).save(tmp_path / "f.tif")
    with pytest.raises(SourceError, match="8 or 16 bits"):
        read_image(tmp_path / "f.tif")


def break_in_every_way(good: Path, folder: Path) -> list[Path]:
    data = good.read_bytes()
    broken = {"empty.png": b"", "text.jpg": b"no picture", "cut.png": data[: len(data) // 2], "header.png": data[:30]}
    for name, content in broken.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in broken]


def test_broken_images_are_skipped_and_named(tmp_path: Path, photo: Callable[..., Path]) -> None:
    good = [photo(f"good{number}.png") for number in range(3)]
    broken = break_in_every_way(good[0], tmp_path)
    with open_source(tmp_path) as source:
        frames = list(source)
    assert source.frame_count == 7
    assert [frame.file for frame in frames] == [str(path) for path in good]
    assert [frame.index for frame in frames] == [2, 3, 4], "their places among all files"
    assert {skip.file for skip in source.skipped} == {str(path) for path in broken}
    assert all(skip.reason and skip.file not in skip.reason for skip in source.skipped)


def test_only_broken_images_are_an_error(tmp_path: Path, photo: Callable[..., Path]) -> None:
    good = photo("good.png")
    broken = break_in_every_way(good, tmp_path)
    good.unlink()
    with open_source(tmp_path) as source, pytest.raises(SourceError, match="none of 4 images"):
        list(source)
    for path in broken:
        with open_source(path) as source, pytest.raises(SourceError) as raised:
            list(source)
        assert str(raised.value).startswith(f"{path}: ")
        assert "\n" not in str(raised.value)


def test_images_can_be_iterated_again(photo: Callable[..., Path]) -> None:
    photo("a.png")
    with open_source(photo("b.png").parent) as source:
        assert [f.file for f in source] == [f.file for f in source]
