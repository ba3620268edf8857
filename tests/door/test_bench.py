from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from crackedge.benchmarks.machine import describe_machine

Bench = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bench(tiny_model: Path) -> Bench:
    """``bench(*options)``: the command on the tiny model, as people type it, small and short."""

    def run(*options: object, model: object = tiny_model) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "crackedge", "bench", model, "--threads", "1", "--duration", "0.1s", *options]
        return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)

    return run


SMALL = ("--size", "320x240", "--restarts", "2")
TILE = ("--scenario", "tile", "--scenario", "null")


def test_a_bench_is_printed_kept_and_compared(bench: Bench, tmp_path: Path) -> None:
    file, page = tmp_path / "bench.json", tmp_path / "bench.html"
    done = bench(*SMALL, *TILE, "--sustain", "0.2s", "--json", file, "--html", page)
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text(encoding="utf-8"))
    assert result["schema"] == 2
    assert set(result["scenarios"]) == {"tile", "null"}
    assert any(line.startswith("tile") for line in done.stdout.splitlines())
    assert "sustained: " in done.stdout
    assert result["sustained"]["parts"]
    assert page.read_text(encoding="utf-8").count("<svg") >= 2

    for one in result["scenarios"].values():  # as if it had taken next to nothing
        one["samples_ms"] = [[ms / 1e6 for ms in samples] for samples in one["samples_ms"]]
    file.write_text(json.dumps(result))
    slower = bench(*SMALL, *TILE, "--compare", file, "--fail-over", "50%")
    assert slower.returncode == 5, slower.stderr
    assert "crackedge: slower than the baseline: tile takes" in slower.stderr
    assert "ratio" in slower.stdout

    for one in result["scenarios"].values():
        one["samples_ms"] = [[ms * 1e8 for ms in samples] for samples in one["samples_ms"]]
    result["machine"]["fingerprint"] = "another"
    file.write_text(json.dumps(result))
    foreign = bench(*SMALL, *TILE, "--compare", file)
    assert foreign.returncode == 2
    assert "another machine" in foreign.stderr
    assert foreign.stdout == "", "said before anything is measured"
    result["machine"]["fingerprint"] = describe_machine()["fingerprint"]
    file.write_text(json.dumps(result))
    for options, said in (
        (("--size", "320x240", "--scenario", "cold"), "none of these scenarios"),
        (("--size", "640x480"), "another input (width 320, here 640)"),
        ((*SMALL, "--engine", "tiles"), "another plan"),
    ):
        early = bench(*options, "--compare", file)
        assert (early.returncode, early.stdout) == (2, ""), early.stderr
        assert said in early.stderr
    forced = bench("--size", "640x480", "--restarts", "2", "--compare", file, "--force")  # the baseline's scenarios
    assert forced.returncode == 0, forced.stderr


def test_several_values_are_put_side_by_side(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "sweep.json"
    done = bench("--size", "320x240", "--engine", "dense,tiles", "--restarts", "1", "--json", file)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(file.read_text(encoding="utf-8"))["plans"]) == 2
    assert "AUC, worst set" in done.stdout


@pytest.mark.parametrize(
    ("fps", "verdicts"),
    [("20", ("keeps", "hardly", "unknown")), ("1e9", ("no",))],  # by how much else the machine has to do
)
def test_advice_says_which_plans_keep_a_pace(fps: str, verdicts: tuple[str, ...], bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "advice.json"
    done = bench("--target-fps", fps, "--size", "224x224", "--engine", "tiles", "--restarts", "1", "--json", file)
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(file.read_text(encoding="utf-8"))["advice"]
    assert one["verdict"] in verdicts
    assert one["verdict"] in done.stdout
    assert "margin" in done.stdout


def test_another_board_is_estimated_at_once(bench: Bench, tmp_path: Path) -> None:
    file, page = tmp_path / "estimate.json", tmp_path / "estimate.html"
    done = bench("--target-fps", "10", "--board", "raspberry-pi-4", "--json", file, "--html", page)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ESTIMATE, not measured: raspberry-pi-4")
    assert json.loads(file.read_text(encoding="utf-8"))["plans"][0]["estimated"]
    assert "ESTIMATE, not measured: raspberry-pi-4" in page.read_text(encoding="utf-8")


FAILURES = {
    "a source that is not there": (1, ("--source", "absent.mp4"), "absent.mp4"),
    "no baseline": (1, ("--compare", "absent.json"), "absent.json: cannot be read"),
    "no such engine": (2, ("--engine", "quick"), "engine 'quick'"),
    "an engine of too few": (2, ("--stride", "wide"), "'wide': expected a whole number"),
    "no time to sustain": (2, ("--sustain", "0m"), "duration 0m"),
    "no such unit": (2, ("--duration", "5 years"), "duration 5 years"),
    "a limit that is none": (2, ("--fail-over", "ten"), "limit 'ten'"),
    "a board without a pace": (2, ("--board", "raspberry-pi-5"), "give --target-fps too"),
    "no such board": (2, ("--board", "abacus", "--target-fps", "5"), "board 'abacus'"),
    "several plans to sustain": (2, ("--engine", "dense,tiles", "--sustain", "1s"), "2 plans"),
    "a pace to sustain": (2, ("--target-fps", "5", "--sustain", "1s"), "--target-fps goes without"),
    "a page nowhere": (1, ("--html", "absent/page.html"), "page.html: cannot be written"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_cannot_be_done_is_said_in_a_line(name: str, bench: Bench) -> None:
    code, options, words = FAILURES[name]
    done = bench(*options)
    assert done.returncode == code, done.stderr
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_damaged_baseline_and_one_of_a_single_process_are_refused(bench: Bench, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.json"
    damaged.write_text('{"kind": "bench", "schema"')
    done = bench("--compare", damaged)
    assert done.returncode == 1
    assert "damaged or no JSON" in done.stderr


def test_a_model_that_does_not_load_here_is_named(bench: Bench, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.tflite"
    foreign.write_bytes(b"\x00\x00\x00\x00TFL3" + b"\x00" * 100)
    done = bench(model=foreign)
    assert done.returncode == 1
    assert "foreign.tflite" in done.stderr.splitlines()[-1]
