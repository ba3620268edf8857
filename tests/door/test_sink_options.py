"""``--sink`` and rotation, as people type them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SCENE = "scene:?frames=12&size=320x256&cracks=3"


def test_results_on_stdout_and_nothing_else_there(crackedge: Any, tmp_path: Path) -> None:
    done = crackedge("run", SCENE, "-o", str(tmp_path / "out"), "--no-video", "--sink", "jsonl:-")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["type"] for line in lines] == ["header", *["frame"] * 12, "summary"]
    assert "12 frames" in done.stderr


def test_a_further_output_that_fails_is_exit_code_4(crackedge: Any, tmp_path: Path) -> None:
    sinks = ("--sink", "exec:exit 3", "--sink", f"csv:{tmp_path / 'c.csv'}")
    done = crackedge("run", SCENE, "-o", str(tmp_path / "out"), "--threshold", "0.01", *sinks)
    assert done.returncode == 4, done.stderr
    assert done.stderr.count("ended with exit code 3; it is run again") == 1
    summary = json.loads((tmp_path / "out" / "results.jsonl").read_text().splitlines()[-1])
    assert [lost["output"] for lost in summary["lost_outputs"]] == ["exec"]
    assert len((tmp_path / "c.csv").read_text().splitlines()) == 1 + summary["regions"]


def test_a_sink_that_cannot_be_understood_is_wrong_use(crackedge: Any, tmp_path: Path) -> None:
    done = crackedge("run", SCENE, "-o", str(tmp_path / "out"), "--sink", "mqtt://drone:hush@host")
    assert done.returncode == 2
    assert "hush" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_outputs_in_parts_make_one_result_folder(crackedge: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for frames in (12, 3):  # the second run replaces all parts of the first
        scene = SCENE.replace("12", str(frames))
        done = crackedge("run", scene, "-o", str(out), "--part-s", "0.2")
        assert done.returncode == 0, done.stderr
        lines = [
            json.loads(line) for file in sorted(out.glob("results*.jsonl")) for line in file.read_text().splitlines()
        ]
        assert sorted(line["index"] for line in lines if line["type"] == "frame") == list(range(frames))
        assert len(list(out.glob("results*.jsonl"))) == len(list(out.glob("marked*.mp4"))) == (3 if frames == 12 else 1)
    done = crackedge("run", SCENE, "-o", str(out), "--part-s", "0.2", "--resume")
    assert done.returncode == 2
    assert "cannot be gone on with" in done.stderr
