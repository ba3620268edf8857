"""Whole runs over a video, from the start of the process to its end: ours, and the scripts that people write.

Ours is ``crackedge run``; theirs reads with OpenCV, scans tile by tile at half overlap, boxes cracked tiles, and writes
a video and a JSON line for each frame. All read the same H.264 file.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from crackedge.benchmarks.footage import SIZE, write_clip
from crackedge.benchmarks.peers.frame_parts import HALF_OVERLAP, Progress, tile_job
from crackedge.benchmarks.peers.process import PeerProcess
from crackedge.benchmarks.peers.target import Target, describe_target, ratio, target
from crackedge.benchmarks.peers.turns import Turn, Turns, Way, describe_turns, take_turns
from crackedge.edge_runtime.errors import MissingExtraError, OptionError, ProofError, SourceError
from crackedge.edge_runtime.frame import Frame
from crackedge.edge_runtime.models.model import Model
from crackedge.edge_runtime.result_folder import RESULTS
from crackedge.edge_runtime.scan.scanner import Scanner
from crackedge.edge_runtime.scenes.scene import parse_scene
from crackedge.edge_runtime.sinks.marked_video import VideoSink
from crackedge.edge_runtime.sources.opening import open_source

PRESET = "ultrafast"  # of x264, for marked videos
SCENE = "scene:concrete?seed=7&speed=8"
LEAST_SPEEDUP = {"naive": 2.7, "supervision": 3.0, "sahi": 3.0}
LEAST_SPEEDUP_REUSE = {"naive": 4.0}
MOST_OVER_BOUND = 1.15  # of the time that the slowest stage or the cores need at least
REUSE = "--reuse"

_STAGE_FRAMES = 50  # kept in memory: 311 MB at 1080p
_RUN_S = 1800.0


@dataclass(frozen=True, slots=True)
class Trial:
    """Whole runs over one clip.

    Attributes:
        model: a logit map.
        clip: the video.
        frames: how many it has.
        folder: for results, which are thrown away.
        threads: of each interpreter.
        python_of: the Python that has a peer; raises MissingExtraError.
        progress: is told what is being done.
    """

    model: Model
    clip: Path
    frames: int
    folder: Path
    threads: int
    python_of: Callable[[str], Path]
    progress: Progress = lambda _: None

    def ours(self, *options: str, frames: int | None = None) -> tuple[float, float]:
        """Seconds, and seconds of processor time, of a ``crackedge run``.

        Raises:
            ProofError: it failed, or did not scan every frame.
        """
        out = self.folder / "ours"
        command = [sys.executable, "-m", "crackedge", "run", str(self.clip), "-o", str(out)]
        command += ["-m", str(self.model.path), "--threads", str(self.threads), "--preset", PRESET, *options]
        if frames is not None:
            command += ["--max-frames", str(frames)]
        before, cpu_before = time.perf_counter(), _children_cpu_s()
        done = subprocess.run(command, capture_output=True, text=True, timeout=_RUN_S, check=False)  # noqa: S603
        elapsed, cpu = time.perf_counter() - before, _children_cpu_s() - cpu_before
        if done.returncode:
            raise ProofError(f"{' '.join(command[1:])}: exit code {done.returncode}: {done.stderr.strip()[-300:]}")
        with (out / RESULTS).open(encoding="utf-8") as lines:
            scanned = sum(json.loads(line)["type"] == "frame" for line in lines)
        shutil.rmtree(out)
        self._expect(scanned, frames or self.frames, "crackedge run")
        return elapsed, cpu

    def theirs(self, peer: str, *, video: bool) -> float:
        """Seconds of a peer's script.

        Raises:
            MissingExtraError: the peer cannot be had, or failed.
            ProofError: it did not scan every frame.
        """
        python = self.python_of(peer)
        job = tile_job(self.model, threads=self.threads, stride=HALF_OVERLAP)
        marked = str(self.folder / "theirs.mp4") if video else None
        before = time.perf_counter()
        with PeerProcess(peer, python=python, job=job, answer_s=_RUN_S) as process:
            answer = process.ask(video=str(self.clip), lines=str(self.folder / "theirs.jsonl"), marked=marked)
        elapsed = time.perf_counter() - before
        self._expect(answer["count"], self.frames, peer)
        return elapsed

    def part(self, name: str, turns: Turns, targets: list[Target], **more: Any) -> dict[str, Any]:
        """What was measured, ready to be written as JSON."""
        return {
            "part": name,
            "model": self.model.identity,
            "threads": self.threads,
            "input": {"clip": self.clip.name, "frames": self.frames},
            "encoders": {"crackedge": f"libx264 {PRESET}", "scripts": "mp4v of OpenCV"},
            "rounds": len(next(iter(turns.values()))),
            "ways": describe_turns(turns),
            "targets": [describe_target(one) for one in targets],
            **more,
        }

    def _expect(self, found: int, expected: int, what: str) -> None:
        if found != expected:
            raise ProofError(f"{what}: {found} frames of {self.clip.name} scanned, expected {expected}")


def write_scene(path: Path, *, frames: int, size: tuple[int, int] = SIZE) -> None:
    """A flight over a synthetic wall as H.264; the camera moves all the time."""
    flight = parse_scene(f"{SCENE}&frames={frames}&size={size[0]}x{size[1]}")
    write_clip(path, (frame.image for frame in flight))


def whole_run(trial: Trial, name: str, *, peers: Sequence[str], video: bool, rounds: int) -> dict[str, Any]:
    """``crackedge run``, every frame scanned in full and, where there is such an option, with reuse, against scripts.

    Peers that cannot be had stand under ``skipped`` with the reason, and so does reuse where there is no such option.

    Args:
        trial: what is run.
        name: of the part.
        peers: whose scripts.
        video: whether marked videos are written.
        rounds: how many runs of each.
    """
    quiet = () if video else ("--no-video",)
    ways: dict[str, Way] = {"crackedge run": _way(trial, lambda: trial.ours(*quiet)[0])}
    skipped: dict[str, str] = {}
    reuse = f"crackedge run {REUSE}"
    if REUSE in run_options():
        ways[reuse] = _way(trial, lambda: trial.ours(*quiet, REUSE)[0])
    else:
        skipped[reuse] = "not available: this crackedge has no such option"
    for peer in peers:
        reason = _absence(trial, peer)
        if reason is None:
            ways[peer] = _way(trial, partial(trial.theirs, peer, video=video))
        else:
            skipped[peer] = reason
    there = [peer for peer in peers if peer in ways]
    turns = take_turns(ways, rounds=rounds, warmup=0, progress=trial.progress)
    least = LEAST_SPEEDUP if video else {}
    least_reuse = LEAST_SPEEDUP_REUSE if video else {}
    targets = [ratio(turns, peer, "crackedge run", at_least=least.get(peer)) for peer in there]
    if reuse in ways:
        targets += [ratio(turns, peer, reuse, at_least=least_reuse.get(peer)) for peer in there]
    return trial.part(name, turns, targets, skipped=skipped)


def overlap(trial: Trial, *, rounds: int) -> dict[str, Any]:
    """How close a run comes to the least time that its stages and this machine's cores allow.

    That is the slowest stage alone, or all processor time divided by the cores, whichever is longer. What starting and
    ending take is left out: a run over one frame is subtracted.
    """
    from crackedge.edge_runtime.processor import usable_cores

    if trial.frames < 2:
        raise OptionError(f"{trial.clip}: {trial.frames} frames; expected at least 2")
    cores, stages = usable_cores(), _stages(trial)
    over: list[float] = []
    runs: list[dict[str, float]] = []
    for number in range(rounds):
        trial.progress(f"overlap, round {number + 1} of {rounds}")
        first_s, first_cpu_s = trial.ours(frames=1)
        all_s, all_cpu_s = trial.ours()
        each = {name: stage() for name, stage in stages.items()}
        wall, cpu = (all_s - first_s) / (trial.frames - 1), (all_cpu_s - first_cpu_s) / (trial.frames - 1)
        bound = max(*each.values(), cpu / cores)
        over.append(wall / bound)
        run_ms = {"end to end": wall, "processor": cpu, "least possible": bound, **each}
        runs.append({name: round(seconds * 1e3, 4) for name, seconds in run_ms.items()})
    names = list(runs[0])
    turns = {name: [Turn(run[name], np.zeros(1)) for run in runs] for name in names}
    goal = target("end to end / least possible", over, at_most=MOST_OVER_BOUND)
    return trial.part("overlap", turns, [goal], cores=cores, what="milliseconds a frame, starting and ending left out")


@cache
def run_options() -> str:
    """What ``crackedge run --help`` says."""
    command = [sys.executable, "-m", "crackedge", "run", "--help"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout  # noqa: S603


def count_frames(clip: Path) -> int:
    """Frames of a video that can be decoded.

    Raises:
        SourceError: there are none.
    """
    with open_source(str(clip)) as source:
        return sum(1 for _ in source)


def _absence(trial: Trial, peer: str) -> str | None:
    """Why a peer cannot be had; None when it can."""
    trial.progress(f"{peer}: environment")
    try:
        trial.python_of(peer)
    except MissingExtraError as error:
        return str(error)
    return None


def _way(trial: Trial, run: Callable[[], float]) -> Way:
    return lambda _: Turn(run() * 1e3, np.zeros(trial.frames))


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _stages(trial: Trial) -> dict[str, Callable[[], float]]:
    """Each stage alone, nothing else going on: seconds a frame."""
    frames = _first_frames(trial.clip, _STAGE_FRAMES)
    scanner = Scanner(trial.model, threads=trial.threads)
    results = [scanner(frame.image) for frame in frames]

    def decode() -> float:
        before = time.perf_counter()
        count = len(_first_frames(trial.clip, _STAGE_FRAMES, keep=False))
        return (time.perf_counter() - before) / count

    def scan() -> float:
        before = time.perf_counter()
        for frame in frames:
            scanner(frame.image)
        return (time.perf_counter() - before) / len(frames)

    def encode() -> float:
        with VideoSink(trial.folder / "stage.mp4", fps=25, preset=PRESET) as sink:
            before = time.perf_counter()
            for frame, result in zip(frames, results, strict=True):
                sink.write(frame, result)
            return (time.perf_counter() - before) / len(frames)

    return {"decode": decode, "scan": scan, "mark and encode": encode}


def _first_frames(clip: Path, most: int, *, keep: bool = True) -> list[Frame]:
    found: list[Frame] = []
    with open_source(str(clip)) as source:
        for frame in source:
            found.append(frame if keep or not found else found[0])
            if len(found) == most:
                break
    if not found:
        raise SourceError(f"{clip}: not one frame; give another clip")
    return found
