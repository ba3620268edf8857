"""Cameras, as far as that goes without one. The rest is in docs/camera-checklist.md."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from crackedge.edge_runtime import LiveSourceError, open_source
from crackedge.edge_runtime.sources.addresses import Address
from crackedge.edge_runtime.sources.camera import CameraCapture, _number
from crackedge.edge_runtime.sources.live import LiveSource
from crackedge.edge_runtime.sources.reader import Picture
from crackedge.edge_runtime.sources.source import SourceOptions

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="devices as Linux has them")


@linux
def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(LiveSourceError, match=r"^/dev/video231: no such camera \(found: .*\); connect it"):
        open_source("231")


@linux
def test_opencv_says_nothing_of_its_own() -> None:
    """A device that is no camera: OpenCV would print lines of warnings."""
    script = "from crackedge.edge_runtime.sources.camera import CameraCapture; CameraCapture('/dev/null')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False)
    assert done.stderr.splitlines()[-1].startswith(
        "crackedge.edge_runtime.errors.LiveSourceError: /dev/null: it is there but does not open as a camera"
    )
    assert "VIDEOIO" not in done.stderr
    assert "WARN" not in done.stderr
    assert done.stdout == ""


@linux
def test_a_device_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(LiveSourceError, match=r"no permission.*group"):
        CameraCapture("/dev/null")


def test_devices_by_other_names(tmp_path: Path) -> None:
    link = tmp_path / "usb-Maker_Camera-index0"
    link.symlink_to("/dev/video17")
    assert _number(str(link)) == 17
    assert _number("/dev/video3") == 3
    assert _number("4") == 4
    assert _number("/dev/v4l/other") is None


class Device:
    """What stands for a camera of three pictures, unplugged after them."""

    fps: float | None = None
    width: int | None = 8
    height: int | None = 6

    def __init__(self, device: str) -> None:
        self.device, self.left = device, 3

    def grab(self) -> Picture | None:
        if not self.left:
            return None
        self.left -= 1
        return lambda: np.zeros((6, 8, 3), np.uint8)

    def close(self) -> None: ...


def test_a_camera_that_is_unplugged() -> None:
    opened: list[Any] = []

    def open_capture(device: str) -> Device:
        opened.append(Device(device))
        return opened[-1]  # type: ignore[no-any-return]

    address = Address("2", "camera", "camera-2")
    options = SourceOptions(open_s=1, read_s=0.2, give_up_s=0)
    capture = functools.partial(open_capture, address.text)
    with LiveSource(capture, uri=address.title, name=address.name, kind=address.kind, options=options) as source:
        with pytest.raises(LiveSourceError, match=r"camera 2: no frame for 0.2 s"):
            list(source)
        assert (source.kind, source.live, source.width) == ("camera", True, 8)
    assert opened[0].device == "2"


class Driver:
    """What stands for ``cv2.VideoCapture``: answers that real drivers give, one after the other."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def __call__(self, *_: Any) -> Driver:
        return self

    def isOpened(self) -> bool:
        return True

    def get(self, _: int) -> float:
        return 0.0

    def set(self, *_: Any) -> None: ...

    def release(self) -> None: ...

    def read(self) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@linux
@pytest.mark.parametrize("answer", [(False, None), (True, None), (True, np.zeros((0, 0, 3), np.uint8))])
def test_answers_without_a_picture(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cv2.VideoCapture", Driver(answer, (True, np.full((2, 2, 3), (1, 2, 3), np.uint8))))
    camera = CameraCapture("/dev/null")
    assert camera.grab() is None
    picture = camera.grab()
    assert picture is not None
    assert picture()[0, 0].tolist() == [3, 2, 1]
    camera.close()


@linux
def test_a_driver_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cv2.VideoCapture", Driver(cv2.error("(-215:Assertion failed)\n !frame.empty()")))
    camera = CameraCapture("/dev/null")
    with pytest.raises(ConnectionError, match=r"OpenCV cannot read it \(\(-215:Assertion failed\) !frame.empty\(\)\)"):
        camera.grab()
    camera.close()


@linux
def test_opencv_is_quiet_until_the_last_camera_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    logging: Any = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2
    before = logging.getLogLevel()
    monkeypatch.setattr("cv2.VideoCapture", Driver())
    stuck, next_one = CameraCapture("/dev/null"), CameraCapture("/dev/null")
    stuck.close()
    stuck.close()
    assert logging.getLogLevel() == 0
    next_one.close()
    assert logging.getLogLevel() == before != 0
