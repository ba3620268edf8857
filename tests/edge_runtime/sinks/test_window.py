"""The window, as far as that goes where there is none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from crackedge.edge_runtime import Frame, FrameResult, ScoreMap
from crackedge.edge_runtime.sinks.window import WindowSink, has_window


def test_headless_boards_have_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not has_window()
    monkeypatch.setenv("DISPLAY", ":7")
    for build, there in (
        ("  GUI:                           GTK3\n", True),
        ("  GUI:          NONE\n", False),
        ("", False),
    ):
        monkeypatch.setattr(cv2, "getBuildInformation", lambda build=build: build)
        assert has_window() is there


def test_a_window_that_fails_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fail(*_: object) -> None:
        asked.append(1)
        raise cv2.error("no display")

    monkeypatch.setattr(cv2, "imshow", fail)
    image = np.zeros((64, 64, 3), np.uint8)
    zeros, starts = np.zeros((1, 1), np.float32), np.zeros(1, np.intp)
    result = FrameResult((), ScoreMap(zeros, zeros, zeros, zeros, starts, starts), 0.0, 64, 64, {})
    with WindowSink("camera-0", on_quit=lambda: None) as sink:
        for index in range(3):
            sink.write(Frame(image, index, 0.0), result)
    assert len(asked) == 1


@pytest.mark.parametrize(("key", "quits"), [(ord("q"), True), (27, True), (ord("x"), False), (-1, False)])
def test_q_and_escape_end_the_run(key: int, quits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[int, ...]] = []
    monkeypatch.setattr(cv2, "imshow", lambda _, image: shown.append(image.shape))
    monkeypatch.setattr(cv2, "waitKey", lambda _: key)
    monkeypatch.setattr(cv2, "destroyWindow", lambda _: None)
    image = np.zeros((48, 64, 3), np.uint8)
    zeros, starts = np.zeros((1, 1), np.float32), np.zeros(1, np.intp)
    result = FrameResult((), ScoreMap(zeros, zeros, zeros, zeros, starts, starts), 0.0, 64, 48, {})
    asked: list[bool] = []
    with WindowSink("camera-0", on_quit=lambda: asked.append(True)) as sink:
        sink.write(Frame(image, 0, 0.0), result)
    assert shown == [(48, 64, 3)]
    assert bool(asked) is quits
