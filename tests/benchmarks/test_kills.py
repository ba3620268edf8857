"""Ended runs: what is wrong with them is seen, and nothing is wrong with ours."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from crackedge.benchmarks import kills


def test_a_killed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kills, "_SOURCE", "scene:?frames=40&size=320x256&cracks=1&distractors=0")
    monkeypatch.setattr(kills, "_FRAMES", 40)
    kills._finish(tmp_path / "undisturbed")
    undisturbed, whole = kills._records(tmp_path / "undisturbed")
    assert whole
    assert len(undisturbed) == 42
    found = kills.kill_once(signal.SIGKILL, 0.05, tmp_path / "out", undisturbed)
    assert found.faults == ()

    undisturbed[7]["cracked"] = not undisturbed[7]["cracked"]
    faults = kills.kill_once(signal.SIGTERM, 0.05, tmp_path / "again", undisturbed).faults
    assert faults == ("resumed results differ from those of an undisturbed run",)
