"""A long run at camera pace: whether memory, threads and open files stay as they are.

    python -m crackedge.benchmarks.soak [--minutes 20] [--json FILE]

A camera on the network sends frames of a synthetic wall and hangs up once a minute; a real ``crackedge run`` in a
process of its own scans them, comes back after each loss, and writes results and marked video. Samples of that process
come from ``/proc`` once a second. At the end it gets SIGINT, and its outputs are read from end to end.
"""

from __future__ import annotations

import itertools
import json
import math
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import click
import numpy as np

from crackedge.benchmarks.faulty_camera import Act, FaultyCamera, Wire, announce, jpeg, part
from crackedge.benchmarks.footage import scene_frames
from crackedge.benchmarks.intervals import student_t
from crackedge.benchmarks.machine import describe_machine, format_machine
from crackedge.benchmarks.program import PROOF_FAILED, errors_in_a_line, write_figures
from crackedge.edge_runtime.errors import ProofError
from crackedge.edge_runtime.frame import Image

SCHEMA = 1
MINUTES = 20.0
FPS = 15.0
WIDTH, HEIGHT = 640, 480
HANGS_UP_S = 60.0
SAMPLE_S = 1.0

_FRAMES = 90  # of the wall, over and over
_WARM_UP_SHARE = 0.2  # of the time: caches and pools fill up
_BLOCKS = 10
_BEGINS_WITHIN_S = _ENDS_WITHIN_S = 60.0
_MOST_KIB_PER_MINUTE = 256.0  # the index of the marked video takes some 75 at this rate


@dataclass(frozen=True, slots=True)
class Sample:
    """A process at one moment."""

    at_s: float
    resident_kib: int
    threads: int
    open_files: int


@dataclass(frozen=True, slots=True)
class Trend:
    """How a figure changes with time.

    Attributes:
        per_minute: change in a minute.
        low: lower end of its 95 % interval.
        high: upper end.
    """

    per_minute: float
    low: float
    high: float


def trend(at_s: Sequence[float], values: Sequence[float], *, blocks: int = _BLOCKS) -> Trend:
    """The straight line through the means of so many blocks of samples, by least squares.

    Samples a second apart resemble each other; means of whole blocks hardly do, so the interval comes from those.

    Raises:
        ProofError: too few samples.
    """
    if len(values) < 2 * blocks:
        raise ProofError(f"{len(values)} samples: expected at least {2 * blocks}; let it run for longer")
    minutes = np.array([block.mean() / 60 for block in np.array_split(np.asarray(at_s, np.float64), blocks)])
    means = np.array([block.mean() for block in np.array_split(np.asarray(values, np.float64), blocks)])
    minutes -= minutes.mean()
    slope = float(minutes @ means / (minutes @ minutes))
    rest = means - means.mean() - slope * minutes
    error = math.sqrt(float(rest @ rest) / (blocks - 2) / float(minutes @ minutes))
    half = student_t(0.975, blocks - 2) * error
    return Trend(slope, slope - half, slope + half)


def soak(
    *,
    minutes: float,
    frames: Sequence[Image],
    fps: float = FPS,
    hangs_up_s: float = HANGS_UP_S,
    every_s: float = SAMPLE_S,
) -> dict[str, Any]:
    """Let a run last so long; ready to be written as JSON.

    Args:
        minutes: how long.
        frames: (H, W, 3) uint8 RGB, what the camera sees, over and over.
        fps: of the camera.
        hangs_up_s: how long it serves until it hangs up.
        every_s: seconds between two samples.

    Raises:
        ProofError: the run did not begin or ended by itself, or there are too few samples.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        FaultyCamera(camera(frames, fps=fps, hangs_up_s=hangs_up_s)) as server,
    ):
        out, said = Path(folder) / "out", Path(folder) / "stderr"
        command = [sys.executable, "-m", "crackedge", "run", server.url, "-o", str(out), "--no-window"]
        with (
            said.open("wb") as stderr,  # no pipe: it would be full before a long run ends
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr) as process,  # noqa: S603
        ):
            try:
                _await_results(out, process)
                samples = list(sampled(process, seconds=minutes * 60, every_s=every_s))
                process.send_signal(signal.SIGINT)
                sent_s = time.monotonic()
                process.wait(_ENDS_WITHIN_S)
                ended_s = time.monotonic() - sent_s
            finally:
                process.kill()
        if process.returncode != 128 + signal.SIGINT:
            last = said.read_bytes()[-500:].decode(errors="replace")
            raise ProofError(f"exit code {process.returncode}, expected {128 + signal.SIGINT}: {last}")
        found = outputs(out)
        connections = server.connections
    return {"minutes": minutes, "fps": fps, "connections": connections, "ended_s": ended_s, **found, **figures(samples)}


def camera(frames: Sequence[Image], *, fps: float, hangs_up_s: float) -> Act:
    """Sends these frames again and again, each at its own time, and hangs up after a while."""
    parts = [part(jpeg(frame)) for frame in frames]

    def act(wire: Wire) -> None:
        announce(wire)
        start_s = time.monotonic()
        for number in range(round(hangs_up_s * fps)):
            wire.send(parts[number % len(parts)])
            if not wire.wait(max(0.0, start_s + (number + 1) / fps - time.monotonic())):
                return

    return act


def sampled(process: subprocess.Popen[bytes], *, seconds: float, every_s: float) -> Iterator[Sample]:
    """Samples of a process for so long.

    Raises:
        ProofError: it ended by itself.
    """
    start_s = time.monotonic()
    for number in itertools.count():
        at_s = time.monotonic() - start_s
        if at_s >= seconds:
            return
        if process.poll() is not None:
            raise ProofError(f"the run ended by itself after {at_s:.0f} s, with exit code {process.returncode}")
        yield sample(process.pid, at_s=at_s)
        time.sleep(max(0.0, start_s + (number + 1) * every_s - time.monotonic()))


def sample(pid: int, *, at_s: float) -> Sample:
    """A process as ``/proc`` shows it now."""
    root = Path("/proc") / str(pid)
    fields = dict(line.split(":", 1) for line in (root / "status").read_text(encoding="ascii").splitlines())
    open_files = sum(1 for _ in (root / "fd").iterdir())
    return Sample(at_s, int(fields["VmRSS"].split()[0]), int(fields["Threads"]), open_files)


def outputs(folder: Path) -> dict[str, Any]:
    """What a run that was ended left behind.

    Raises:
        ProofError: its results do not end with a summary, or its video has not as many pictures as they have frames.
    """
    records = [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    summary = records[-1]
    with av.open(str(folder / "marked.mp4")) as video:
        pictures = sum(1 for _ in video.decode(video=0))
    if summary["type"] != "summary" or summary["frames"] != pictures:
        raise ProofError(f"{pictures} pictures in marked.mp4, and the results end with {summary}")
    gaps = [record["seconds"] for record in records if record["type"] == "gap"]
    return {
        "frames": summary["frames"],
        "dropped": summary["dropped"],
        "cracked_frames": summary["cracked_frames"],
        "gaps": len(gaps),
        "longest_gap_s": max(gaps, default=0.0),
    }


def figures(samples: Sequence[Sample]) -> dict[str, Any]:
    """Trends after the warm-up, extremes, and all samples; ready to be written as JSON.

    Raises:
        ProofError: too few samples.
    """
    warm = [one for one in samples if one.at_s >= _WARM_UP_SHARE * samples[-1].at_s]
    at_s = [one.at_s for one in warm]
    measured: dict[str, Any] = {}
    for name in ("resident_kib", "threads", "open_files"):
        values = [getattr(one, name) for one in warm]
        measured[name] = {
            "median": statistics.median(values),
            "max": max(values),
            "per_minute": asdict(trend(at_s, values)),
        }
    return {"warm_up_s": at_s[0], "n": len(warm), **measured, "samples": [asdict(one) for one in samples]}


def leaks(result: dict[str, Any]) -> list[str]:
    """What surely grows, in words."""
    most = {"resident_kib": _MOST_KIB_PER_MINUTE, "threads": 0.1, "open_files": 0.1}
    slopes = {name: result[name]["per_minute"] for name in most}
    return [
        f"{name} grows by {slope['per_minute']:.2f} a minute, at least {slope['low']:.2f}; limit {most[name]:g}"
        for name, slope in slopes.items()
        if slope["low"] > most[name]
    ]


def format_soak(result: dict[str, Any]) -> str:
    """The figures for the terminal."""
    lines = [
        f"{result['minutes']:g} minutes at {result['fps']:g} frames/s: {result['frames']} frames, "
        f"{result['dropped']} dropped; {result['connections']} connections, {result['gaps']} gaps of at most "
        f"{result['longest_gap_s']:.1f} s",
        f"SIGINT: ended after {result['ended_s']:.1f} s, results and marked video whole",
    ]
    for name, unit in (("resident_kib", " KiB"), ("threads", ""), ("open_files", "")):
        one, slope = result[name], result[name]["per_minute"]
        lines.append(
            f"{name}: median {one['median']:.0f}{unit}, most {one['max']}{unit}, "
            f"{slope['per_minute']:+.2f}{unit} a minute ({slope['low']:+.2f} to {slope['high']:+.2f})"
        )
    return "\n".join(lines)


@click.command(help="A long run at camera pace: whether memory, threads and open files stay as they are.")
@click.option("--minutes", default=MINUTES, show_default=True, type=click.FloatRange(min=0.4), help="How long.")
@click.option("--fps", default=FPS, show_default=True, type=click.FloatRange(min=0.1), help="Rate of the camera.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write all samples there.")
def main(minutes: float, fps: float, json_path: Path | None) -> None:
    """Let it run and print what came of it."""
    with errors_in_a_line():
        machine = describe_machine()
        result = soak(minutes=minutes, fps=fps, frames=scene_frames(width=WIDTH, height=HEIGHT, count=_FRAMES))
        result = {"schema": SCHEMA, "machine": machine, "input": {"width": WIDTH, "height": HEIGHT}, **result}
        write_figures(json_path, result)
    click.echo(format_machine(machine))
    click.echo(format_soak(result))
    if found := leaks(result):
        click.echo("\n".join(f"Error: {one}" for one in found), err=True)
        sys.exit(PROOF_FAILED)


def _await_results(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the first frame is scanned."""
    deadline_s = time.monotonic() + _BEGINS_WITHIN_S
    results = folder / "results.jsonl"
    while not (results.exists() and b'"frame"' in results.read_bytes()):
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise ProofError(f"the run did not begin within {_BEGINS_WITHIN_S:g} s")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
