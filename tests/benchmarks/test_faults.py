"""Every fault once, for real. The counts are in docs/faults.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import click.testing
import cv2
import numpy as np
import pytest

from crackedge.benchmarks import senders
from crackedge.benchmarks.fault_trials import Trial
from crackedge.benchmarks.faults import Fault, faults, format_rows, main, measure
from crackedge.benchmarks.faulty_camera import is_noise, jpeg, noise
from crackedge.edge_runtime.frame import Image

FAULTS = faults()


@pytest.fixture(scope="module")
def trials() -> Iterator[dict[str, Future[Trial]]]:
    """Every fault, several at a time: most of it is waiting for deadlines."""
    with ThreadPoolExecutor(8) as pool:
        able = [fault for fault in FAULTS if senders.has_rtsp() or not fault.needs_rtsp]
        yield {fault.title: pool.submit(fault.provoke) for fault in able}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.title)
def test_each_fault_is_survived(fault: Fault, trials: dict[str, Future[Trial]]) -> None:
    if fault.title not in trials:
        pytest.skip(f"no RTSP server here: apt install {senders.RTSP_PACKAGES}")
    trial = trials[fault.title].result()
    assert trial.survived, trial.story


def decoded(image: Image) -> Image:
    bgr = cv2.imdecode(np.frombuffer(jpeg(image), np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    return np.ascontiguousarray(bgr[:, :, ::-1], np.uint8)


@pytest.mark.parametrize("size_wh", [(96, 64), (192, 128), (640, 480)])
def test_pictures_of_the_camera_are_known_and_others_are_not(size_wh: tuple[int, int]) -> None:
    for number in (0, 7, 1003):
        image = decoded(noise(number, size_wh=size_wh))
        assert is_noise(image)
        image[-size_wh[1] // 8 :] = 128
        assert not is_noise(image), "one row of its grid is grey"
    assert not is_noise(noise(1_000_000, size_wh=size_wh))


def test_what_was_not_survived_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = iter([Trial(True, 1.5, "well"), Trial(False, 9.0, "it hung")])
    chosen = [Fault("a camera", "burns", "goes on", lambda: next(results))]
    monkeypatch.setattr("crackedge.benchmarks.faults.faults", lambda: chosen)
    file = tmp_path / "faults.json"
    done = click.testing.CliRunner().invoke(main, ["--times", "2", "--json", str(file)])
    assert done.exit_code == 5
    assert "not survived: a camera, burns: it hung" in done.stderr
    (row,) = json.loads(file.read_text())["faults"]
    assert (row["provoked"], row["survived"], row["silence_s"]) == (2, 1, [1.5, 9.0])
    assert format_rows([row]).splitlines()[1].split()[-4:] == ["2", "1", "5.2", "9.0"]


def test_faults_that_need_what_is_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crackedge.benchmarks.senders.has_rtsp", lambda: False)
    chosen = [Fault("RTSP", "burns", "goes on", lambda: Trial(False, 0.0, ""), needs_rtsp=True)]
    assert measure(chosen, times=1, on_trial=lambda *_: None) == []
