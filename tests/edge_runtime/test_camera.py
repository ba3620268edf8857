"""Cameras, as far as that goes without one. The rest is in docs/camera-checklist.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crackedge.edge_runtime import LiveSourceError, open_source
from crackedge.edge_runtime.camera import CameraCapture, _number, open_camera
from crackedge.edge_runtime.live import Picture
from crackedge.edge_runtime.sources import Address, SourceOptions, never

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="devices as Linux has them")


@linux
def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(LiveSourceError, match=r"^/dev/video231: no such camera \(found: .*\); connect it"):
        open_source("231")


@linux
def test_opencv_says_nothing_of_its_own() -> None:
    """A device that is no camera: OpenCV would print lines of warnings."""
    script = "from crackedge.edge_runtime.camera import CameraCapture; CameraCapture('/dev/null')"
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
    with open_camera(address, SourceOptions(open_s=1, read_s=0.2), stop=never, open_capture=open_capture) as source:
        with pytest.raises(LiveSourceError, match=r"camera 2: no frame for 0.2 s"):
            list(source)
        assert (source.kind, source.live, source.width) == ("camera", True, 8)
    assert opened[0].device == "2"
