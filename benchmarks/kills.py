"""Runs that are ended at random moments: what is in their outputs, and whether another run goes on from there.

    python -m crackedge.benchmarks.kills [--times 20] [--json FILE]

Each moment is a real ``crackedge run`` over a synthetic flight in a process of its own, ended by SIGINT, SIGTERM or
SIGKILL. Then every line of its results is read and every picture of its marked video decoded; ``--resume`` finishes the
run, and what it leaves is compared with the results of a run that nobody disturbed.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import av.error
import click

from crackedge.benchmarks.machine import describe_machine
from crackedge.benchmarks.program import PROOF_FAILED, errors_in_a_line, write_figures
from crackedge.benchmarks.table import aligned

SCHEMA = 1
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
TIMES = 20

_FRAMES = 150
_SOURCE = f"scene:concrete?seed=5&frames={_FRAMES}&size=640x480"
_TIMING = ("timing_ms", "seconds", "fps", "started_at", "ended_at", "resumed_at")
_MOST_S = 60.0  # for a run that nobody disturbs


@dataclass(frozen=True, slots=True)
class Kill:
    """What one ended run left behind.

    Attributes:
        signal: name of what ended it.
        after_s: from its first frame to the signal.
        ended_s: from the signal to its end.
        code: what it ended with.
        lines: whole lines in its results.
        pictures: decoded from its marked video.
        seconds_lost: of the marked video, against the results.
        faults: what is not as it should be, in words; nothing when all is well.
    """

    signal: str
    after_s: float
    ended_s: float
    code: int
    lines: int
    pictures: int
    seconds_lost: float
    faults: tuple[str, ...]


def kill_once(number: signal.Signals, after_s: float, folder: Path, undisturbed: list[dict[str, Any]]) -> Kill:
    """Run, end, open what is there, resume, compare.

    Args:
        number: the signal.
        after_s: seconds from the first frame to the signal.
        folder: for the results; must not exist.
        undisturbed: the records of a run that nobody ended.
    """
    with _start(folder) as process:
        _await_frames(folder, process)
        time.sleep(after_s)
        process.send_signal(number)
        sent_s = time.monotonic()
        process.wait(timeout=_MOST_S)
        ended_s = time.monotonic() - sent_s
    faults: list[str] = []
    allowed = (-number, 128 + number, 0)
    if process.returncode not in allowed:
        faults.append(f"exit code {process.returncode}, expected one of {allowed}")
    if number != signal.SIGKILL and ended_s > 2:
        faults.append(f"ended after {ended_s:.1f} s, expected 2 at most")
    records, whole = _records(folder)
    if not whole and number != signal.SIGKILL:
        faults.append("a line of its results is cut off")
    frames = [record for record in records if record["type"] == "frame"]
    times = _times(folder / "marked.mp4")
    lost_s = max(0.0, frames[-1]["time_s"] - (times[-1] if times else 0.0)) if frames else 0.0
    if lost_s > 1 or (number != signal.SIGKILL and len(times) != len(frames)):
        faults.append(f"{len(times)} pictures for {len(frames)} frames, {lost_s:.1f} s lost")
    faults += _resumed(folder, undisturbed)
    return Kill(number.name, after_s, ended_s, process.returncode, len(records), len(times), lost_s, tuple(faults))


def kills(times: int, *, seed: int = 1) -> dict[str, Any]:
    """End ``times`` runs by each signal; ready to be written as JSON."""
    moments = random.Random(seed)
    found: list[Kill] = []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        started_s = time.monotonic()
        _finish(root / "undisturbed")
        lasting_s = time.monotonic() - started_s
        undisturbed, _ = _records(root / "undisturbed")
        for number in SIGNALS:
            for turn in range(times):
                after_s = moments.uniform(0, 0.7 * lasting_s)
                found.append(kill_once(number, after_s, root / f"{number.name}-{turn}", undisturbed))
    return {
        "schema": SCHEMA,
        "machine": describe_machine(),
        "source": _SOURCE,
        "times": times,
        "signals": {number.name: _figures([one for one in found if one.signal == number.name]) for number in SIGNALS},
        "kills": [asdict(one) for one in found],
    }


def format_kills(result: dict[str, Any]) -> str:
    """The counts as a table for the terminal, and every fault."""
    rows = [
        [name, one["runs"], one["survived"], one["longest_end_s"], one["most_seconds_lost"]]
        for name, one in result["signals"].items()
    ]
    header = ["signal", "runs", "nothing wrong", "longest end s", "most video lost s"]
    faults = [
        f"{one['signal']} after {one['after_s']:.2f} s: {fault}" for one in result["kills"] for fault in one["faults"]
    ]
    return "\n".join([aligned(header, rows, digits=2), *faults])


def _figures(found: list[Kill]) -> dict[str, Any]:
    return {
        "runs": len(found),
        "survived": sum(not one.faults for one in found),
        "longest_end_s": max(one.ended_s for one in found),
        "most_seconds_lost": max(one.seconds_lost for one in found),
    }


def _command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "crackedge", "run", _SOURCE, "-o", str(folder), "--resume"]


def _start(folder: Path) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(_command(folder), stdout=quiet, stderr=quiet)  # noqa: S603 - this very program


def _finish(folder: Path) -> None:
    subprocess.run(_command(folder), check=True, capture_output=True, timeout=10 * _MOST_S)  # noqa: S603


def _await_frames(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the first frame stands in the results."""
    until_s = time.monotonic() + _MOST_S
    while time.monotonic() < until_s and process.poll() is None and len(_records(folder)[0]) < 2:
        time.sleep(0.01)


def _records(folder: Path) -> tuple[list[dict[str, Any]], bool]:
    """The whole lines of results, and whether there is nothing else."""
    results = folder / "results.jsonl"
    lines = results.read_bytes().splitlines(keepends=True) if results.exists() else []
    whole = [line for line in lines if line.endswith(b"\n")]
    return [json.loads(line) for line in whole], len(whole) == len(lines)


def _times(video: Path) -> list[float]:
    """When the pictures of a video are shown, as far as they can be decoded."""
    found: list[float] = []
    try:
        with av.open(str(video)) as container:
            for picture in container.decode(video=0):
                found.append(float(picture.time or 0))  # noqa: PERF401 - what came before the cut counts
    except (av.error.FFmpegError, IndexError):
        pass
    return found


def _resumed(folder: Path, undisturbed: list[dict[str, Any]]) -> list[str]:
    try:
        _finish(folder)
    except subprocess.CalledProcessError as error:
        return [f"--resume ended with {error.returncode}: {error.stderr.decode(errors='replace').strip()[-200:]}"]
    records, _ = _records(folder)
    faults = []
    if [_bare(record) for record in records] != [_bare(record) for record in undisturbed]:
        faults.append("resumed results differ from those of an undisturbed run")
    if len(_times(folder / "marked.mp4")) != _FRAMES:
        faults.append(f"the resumed video has {len(_times(folder / 'marked.mp4'))} pictures, expected {_FRAMES}")
    return faults


def _bare(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in _TIMING}


@click.command(help="Runs that are ended at random moments, opened and resumed.")
@click.option("--times", default=TIMES, show_default=True, type=click.IntRange(min=1), help="Runs for each signal.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write every run there.")
def main(times: int, json_path: Path | None) -> None:
    """Run and print."""
    with errors_in_a_line():
        result = kills(times)
        write_figures(json_path, result)
    click.echo(format_kills(result))
    if any(one["faults"] for one in result["kills"]):
        sys.exit(PROOF_FAILED)


if __name__ == "__main__":
    main()
