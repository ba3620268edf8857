"""A Raspberry Pi's camera, by a module that stands for picamera2."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

STAND_IN = """
    import time
    import numpy as np

    class Picamera2:
        @staticmethod
        def global_camera_info():
            return [{"Model": "imx708", "Num": 0}]

        def __init__(self, number):
            if open_cameras:
                raise RuntimeError("Camera __init__ sequence did not complete.")
            open_cameras.append(number)

        def create_video_configuration(self, *, main, controls):
            return {"main": main, "controls": controls}

        def configure(self, configuration):
            self._configuration = configuration

        def camera_configuration(self):
            return self._configuration

        def start(self):
            print("started", self._configuration["main"]["format"], self._configuration["controls"])

        def capture_array(self, name):
            time.sleep(0.02)
            width, height = self._configuration[name]["size"]
            padded = np.zeros((height, width + 16, 3), np.uint8)
            padded[:] = (250, 120, 10)
            return padded[:, :width]

        def close(self):
            open_cameras.remove(0)

    open_cameras = []
"""


def session(script: str, *, stand_in: Path | None) -> str:
    path = os.pathsep.join([*([str(stand_in)] if stand_in else []), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    (tmp_path / "picamera2.py").write_text(textwrap.dedent(STAND_IN))
    return tmp_path


def test_frames_of_the_size_and_rate_asked_for(stand_in: Path) -> None:
    script = """
        from crackedge.edge_runtime import CrackedgeError, SourceOptions, open_source
        import picamera2
        with open_source("picamera://0", SourceOptions(size_wh=(320, 240), fps=10.0)) as source:
            print(source.kind, source.live, source.name, source.fps, source.width, source.height)
            frames = [frame for frame, _ in zip(source, range(3))]
            print(frames[2].image.shape, frames[2].image[5, 5].tolist(), frames[2].image.flags.c_contiguous)
            try:
                open_source("picamera://0")
            except CrackedgeError as error:
                print(type(error).__name__, error)
        print(picamera2.open_cameras)
        try:
            open_source("picamera://3")
        except CrackedgeError as error:
            print(type(error).__name__, error)
    """
    assert session(script, stand_in=stand_in).splitlines() == [
        "started BGR888 {'FrameRate': 10.0}",
        "camera True picamera-0 10.0 320 240",
        "(240, 320, 3) [250, 120, 10] True",
        "LiveSourceError picamera://0: cannot be used (Camera __init__ sequence did not complete.); it may be in use",
        "[]",
        "LiveSourceError picamera://3: no such camera (found: imx708); check its cable, or give another number",
    ]


def test_without_picamera2() -> None:
    script = """
        import sys
        from crackedge.edge_runtime import MissingExtraError, open_source
        sys.modules["picamera2"] = None
        try:
            open_source("picamera://0")
        except MissingExtraError as error:
            print(error)
    """
    said = session(script, stand_in=None)
    assert said.startswith("picamera://0: picamera2 is not there (")
    assert "apt install python3-picamera2" in said
