"""The live view's page in a real browser, looked at by its picture and by what its script wrote."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from crackedge.edge_runtime import Frame, Scanner
from crackedge.edge_runtime.live_view.memory import LiveView
from crackedge.edge_runtime.live_view.server import LiveServer, ServeAddress

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")

QUIET = (
    "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update"
)


@pytest.fixture
def url(tiny_model: Path) -> Iterator[str]:
    """A live view of frames that go on and on."""
    view = LiveView(model="tiny", threshold=lambda: 0.37)
    view.note({"type": "header", "source": {"uri": "camera 7", "kind": "camera", "live": True}})
    leaving = threading.Event()
    image = np.full((480, 640, 3), 235, np.uint8)
    image[64:400, 120:400] = 0

    def feed() -> None:
        with Scanner(tiny_model, threads=1) as scanner:
            for index in itertools.count():
                shown = image.copy()
                view.write(Frame(shown, index, index / 10), scanner(shown))
                if leaving.wait(0.1):
                    return

    thread = threading.Thread(target=feed)
    thread.start()
    with LiveServer(view, ServeAddress("127.0.0.1", 0), set_threshold=lambda _: None) as server:
        yield server.url
    leaving.set()
    thread.join()


def browse(url: str, folder: Path, *options: str) -> str:
    flags = [f"--{flag}" for flag in QUIET.split()]
    done = subprocess.run(
        [str(CHROMIUM), *flags, f"--user-data-dir={folder / 'profile'}", "--timeout=5000", *options, url],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.stdout


def test_a_screenshot(url: str, tmp_path: Path) -> None:
    browse(url, tmp_path, "--window-size=1280,900", f"--screenshot={tmp_path / 'page.png'}")
    page = cv2.imread(str(tmp_path / "page.png"))
    assert page is not None
    assert page.shape == (900, 1280, 3)
    blue, green, red = (page[..., channel].astype(int) for channel in range(3))
    marked = (red > 200) & (green < 110) & (blue < 140)
    rows, cols = np.nonzero(marked)
    assert marked.sum() > 500, "the outline of the crack"
    assert rows.min() > 30, "below the headline"
    assert cols.min() < 640
    assert page[5, 5].max() < 60, "a dark page"


def test_what_the_script_writes(url: str, tmp_path: Path) -> None:
    pages = (browse(url, tmp_path, "--dump-dom") for _ in range(5))  # it may be too slow to have got an answer by then
    page = next(page for page in pages if ">live</span>" in page)
    assert "camera 7 · tiny" in page
    assert ">0.37</output>" in page
    assert "/cracks/1.jpg" in page
    assert "frames/s" in page
