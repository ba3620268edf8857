"""Pictures of a decoder as RGB: the colours that were filmed, by the matrix and range that the video names."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from crackedge.edge_runtime.sources.decoding import UprightRgb

COLOURS = np.array([(200, 40, 40), (40, 180, 60), (30, 60, 210), (128, 128, 128), (250, 240, 20), (5, 5, 5)], np.uint8)
KR_KB = {5: (0.299, 0.114), 1: (0.2126, 0.0722)}  # by FFmpeg's number of the matrix: BT.601, BT.709


def picture(matrix: int, *, full: bool, pixel_format: str) -> Any:
    """Bars of the colours, in Y, U, V by the definitions of ITU-R BT.601 and BT.709."""
    kr, kb = KR_KB[matrix]
    r, g, b = (np.kron(COLOURS[:, channel], np.ones((32, 16))) for channel in range(3))
    y = kr * r + (1 - kr - kb) * g + kb * b
    u, v = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
    if not full:
        y, u, v = 16 + y * 219 / 255, u * 224 / 255, v * 224 / 255
    planes = [y, u[::2, ::2] + 128, v[::2, ::2] + 128]
    if pixel_format == "nv12":
        planes = [y, np.stack(planes[1:], 2).reshape(16, -1)]
    frame = av.VideoFrame(y.shape[1], y.shape[0], pixel_format)
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[: values.shape[0], : values.shape[1]] = np.rint(values).clip(0, 255)
        plane.update(rows.tobytes())
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    return frame


@pytest.mark.parametrize("matrix", KR_KB)
@pytest.mark.parametrize(("pixel_format", "full"), [("yuv420p", False), ("yuvj420p", True), ("nv12", False)])
def test_matrix_and_range_are_honoured(matrix: int, pixel_format: str, full: bool) -> None:
    image = UprightRgb()(picture(matrix, full=full, pixel_format=pixel_format))
    middles = image[16, 8::16].astype(int)
    assert abs(middles - COLOURS.astype(int)).max() <= 3


def test_one_converter_serves_pictures_of_all_kinds() -> None:
    to_rgb = UprightRgb()
    kinds = [(5, "yuv420p", False), (1, "yuv420p", False), (5, "yuvj420p", True), (5, "yuv420p", False)]
    for matrix, pixel_format, full in kinds:
        frame = picture(matrix, full=full, pixel_format=pixel_format)
        assert np.array_equal(to_rgb(frame), UprightRgb()(frame))


def test_pictures_do_not_wait_for_the_collector(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as video:
        stream = video.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(9):
            video.mux(stream.encode(picture(5, full=False, pixel_format="yuv420p").reformat(96, 64)))
        video.mux(stream.encode(None))
    to_rgb = UprightRgb()
    gc.collect()
    gc.disable()
    try:
        with av.open(str(path)) as video:
            for frame in video.decode(video=0):
                to_rgb(frame)
            alive = sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects())
    finally:
        gc.enable()
    assert alive < 5, "of nine: the first one, and those at hand"
