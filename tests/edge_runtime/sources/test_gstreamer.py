"""GStreamer pipelines: real ones where an OpenCV of this machine can run them, and refused by name where it cannot."""

from __future__ import annotations

import os
import subprocess
import textwrap
from pathlib import Path

import cv2
import pytest

from crackedge.edge_runtime import MissingExtraError, open_source
from crackedge.edge_runtime.sources.addresses import find_addresses
from crackedge.edge_runtime.sources.gstreamer import pipeline_of
from crackedge.edge_runtime.sources.source import SourceOptions

SOURCE_TREE = Path(__file__).resolve().parents[3] / "src"
SYSTEM_PYTHON = "/usr/bin/python3"


def pipeline(text: str, **options: object) -> str:
    (address,) = find_addresses(text)
    return pipeline_of(address, SourceOptions(**options))  # type: ignore[arg-type]


def test_what_is_missing_at_the_end_is_added() -> None:
    assert pipeline("gst:videotestsrc").startswith("videotestsrc ! videoconvert ! video/x-raw,format=BGR ! appsink ")
    assert pipeline("gst: videotestsrc ! appsink name=mine ") == "videotestsrc ! appsink name=mine"


def test_a_jetson_camera_is_asked_for_size_and_rate() -> None:
    asked = pipeline("csi://1", size_wh=(1920, 1080), fps=15.0)
    assert "sensor-id=1 " in asked
    assert "width=1920,height=1080,framerate=15/1" in asked
    assert "width=1280,height=720,framerate=30/1" in pipeline("csi://0")


@pytest.mark.skipif(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER), reason="this OpenCV has GStreamer")
@pytest.mark.parametrize("text", ["gst:videotestsrc", "csi://0"])
def test_an_opencv_without_gstreamer_is_named(text: str) -> None:
    with pytest.raises(MissingExtraError, match=rf"{text}: this OpenCV \d.* was built without GStreamer.*JetPack"):
        open_source(text)


def can_run() -> bool:
    """Whether the system's own Python has an OpenCV with GStreamer, and there are its test pictures."""
    script = "import cv2, sys; sys.exit(not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER))"
    if not Path(SYSTEM_PYTHON).exists() or not list(Path("/usr/lib").glob("*/gstreamer-1.0/libgstvideotestsrc.so")):
        return False
    return subprocess.run([SYSTEM_PYTHON, "-c", script], capture_output=True, check=False).returncode == 0


def test_a_real_pipeline() -> None:
    if not can_run():
        pytest.skip("no OpenCV with GStreamer here")
    script = """
        from crackedge.edge_runtime import SourceOptions, open_source
        pipeline = "gst:videotestsrc is-live=true pattern=red ! video/x-raw,width=320,height=240,framerate=30/1"
        with open_source(pipeline, SourceOptions(rotate=90)) as source:
            print(source.kind, source.live, source.fps, source.width, source.height)
            for frame, _ in zip(source, range(3)):
                print(frame.index, frame.image.shape, frame.image[9, 9].tolist())
    """
    done = subprocess.run(
        [SYSTEM_PYTHON, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE_TREE)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "stream True 30.0 240 320",
        *(f"{index} (320, 240, 3) [255, 0, 0]" for index in range(3)),
    ]
