"""A short soak, and whether its figures would show a leak."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from crackedge.benchmarks.faulty_camera import noise
from crackedge.benchmarks.soak import Sample, figures, format_soak, leaks, main, outputs, sample, soak, trend
from crackedge.edge_runtime.errors import ProofError


@given(st.floats(-500, 500), st.integers(0, 1000))
def test_the_trend_of_a_line_in_noise(per_minute: float, seed: int) -> None:
    at_s = np.arange(300.0)
    values = 9e4 + per_minute * at_s / 60 + np.random.default_rng(seed).normal(0, 50, 300)
    found = trend(at_s.tolist(), values.tolist())
    assert found.low < found.per_minute < found.high
    assert found.per_minute == pytest.approx(per_minute, abs=25)


def test_how_often_the_interval_holds_the_truth() -> None:
    at_s = np.arange(300.0)
    held = [
        one.low <= 7 <= one.high
        for seed in range(200)
        for one in (trend(at_s.tolist(), (at_s * 7 / 60 + np.random.default_rng(seed).normal(0, 9, 300)).tolist()),)
    ]
    assert 0.90 <= np.mean(held) <= 0.99


def samples(*, kib_per_minute: float = 0.0, threads_per_minute: float = 0.0) -> list[Sample]:
    rng = np.random.default_rng(1)
    return [
        Sample(
            float(at_s),
            round(1e5 + kib_per_minute * at_s / 60 + rng.normal(0, 20)),
            8 + int(threads_per_minute * at_s / 60),
            20,
        )
        for at_s in range(600)
    ]


def test_leaks_are_found_and_a_flat_run_has_none() -> None:
    assert leaks(figures(samples(kib_per_minute=70))) == []
    (memory,) = leaks(figures(samples(kib_per_minute=400)))
    assert memory.startswith("resident_kib grows by 400")
    (threads,) = leaks(figures(samples(threads_per_minute=1)))
    assert threads.startswith("threads grows by ")


def test_too_few_samples() -> None:
    with pytest.raises(ProofError, match="let it run for longer"):
        figures(samples()[:15])


def test_a_sample_of_this_process() -> None:
    before = sample(os.getpid(), at_s=1.0)
    with Path(os.devnull).open():
        after = sample(os.getpid(), at_s=2.0)
    assert after.open_files == before.open_files + 1
    assert before.resident_kib > 10_000
    assert before.threads >= 1


def test_outputs_that_are_not_whole(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "marked.mp4"), "w") as video:
        stream = video.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(3):
            video.mux(stream.encode(av.VideoFrame.from_ndarray(noise(number), "rgb24")))
        video.mux(stream.encode(None))
    for end in ({"type": "frame"}, {"type": "summary", "frames": 4}):
        (tmp_path / "results.jsonl").write_text(json.dumps(end) + "\n")
        with pytest.raises(ProofError, match=r"3 pictures in marked.mp4, and the results end with"):
            outputs(tmp_path)
    gap = {"type": "gap", "seconds": 2.5}
    summary = {"type": "summary", "frames": 3, "dropped": 1, "cracked_frames": 0}
    (tmp_path / "results.jsonl").write_text(f"{json.dumps(gap)}\n{json.dumps(summary)}\n")
    assert (outputs(tmp_path)["gaps"], outputs(tmp_path)["longest_gap_s"]) == (1, 2.5)


def test_a_short_soak() -> None:
    """A real run, a real camera that hangs up every few seconds."""
    frames = [noise(number, size_wh=(320, 240)) for number in range(40)]
    result = soak(minutes=0.12, fps=10.0, frames=frames, hangs_up_s=2.5, every_s=0.1)
    assert result["frames"] > 20
    assert 1 <= result["gaps"] <= result["connections"]
    assert result["threads"]["max"] >= 2
    assert len(result["samples"]) > result["n"] >= 20
    json.dumps(result)
    assert "SIGINT: ended after" in format_soak(result)


def test_a_run_that_says_more_than_a_pipe_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talkative = tmp_path / "python"
    talkative.write_text(
        f"""#!{sys.executable} -IS
import os, sys, time
os.write(2, b"one more line\\n" * 20_000)
out = sys.argv[sys.argv.index("-o") + 1]
os.mkdir(out)
with open(out + "/results.jsonl", "w") as file:
    file.write('{{"type": "frame"}}')
try:
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit("the last words")
"""
    )
    talkative.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(talkative))
    monkeypatch.setattr("crackedge.benchmarks.soak._BEGINS_WITHIN_S", 3.0)
    with pytest.raises(ProofError, match=r"exit code 1, expected 130: (?s:.*)the last words"):
        soak(minutes=0.005, fps=10.0, frames=[noise(0)], every_s=0.1)


def test_a_run_that_cannot_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crackedge.benchmarks.soak.scene_frames", lambda **_: [])
    done = CliRunner().invoke(main, ["--minutes", "0.4"])
    assert done.exit_code == 5
    assert "the run did not begin" in done.stderr
