from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from crackedge.benchmarks.overload import broken, busy_processes, compare, format_result, main, measure
from crackedge.edge_runtime.models.model import open_model
from crackedge.edge_runtime.scan.scanner import Scanner
from crackedge.edge_runtime.scenes.scene import parse_scene


def test_both_ways_are_measured_at_the_cameras_pace_and_judged(tiny_model: Path) -> None:
    frames = [frame.image for frame in parse_scene("scene:?size=320x240&frames=4")]
    result = compare(open_model(tiny_model), frames, busy=1, max_latency_ms=1e6, refresh_s=1e3, seconds=1.0, threads=1)
    assert json.loads(json.dumps(result)) == result
    assert broken(result) == []
    for one in result["ways"].values():
        assert one["frames"] == len(one["latency_samples_ms"]) > 0
    assert "budget" in format_result(result)
    result["max_latency_ms"], result["refresh_s"] = 0.0, -1.0
    assert len(broken(result)) == 2


def test_a_budget_that_nothing_fits_is_seen_to_give_up(tiny_model: Path) -> None:
    frames = [frame.image for frame in parse_scene("scene:?size=640x480&frames=3")]
    with Scanner(tiny_model, threads=1, max_latency_ms=1e-3) as scanner:
        figures = measure(scanner, frames, seconds=1.0, warmup_s=0.5)
    assert figures["gave_up"]["latency"] == figures["frames"]
    assert figures["mean_scanned"] < 1


def test_busy_processes_end_with_their_block(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[subprocess.Popen[bytes]] = []

    def begin(command: list[str]) -> subprocess.Popen[bytes]:
        begun.append(popen(command))
        return begun[-1]

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", begin)
    with busy_processes(2):
        assert [process.poll() for process in begun] == [None, None]
    assert [process.returncode for process in begun] == [-signal.SIGKILL] * 2


def test_a_model_that_is_missing_is_one_line(tmp_path: Path) -> None:
    missing = CliRunner().invoke(main, ["--model", str(tmp_path / "none.tflite"), "--seconds", "1"])
    assert missing.exit_code == 1
    assert missing.stderr.startswith("Error: ")
    assert len(missing.stderr.splitlines()) == 1
