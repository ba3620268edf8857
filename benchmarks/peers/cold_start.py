"""Cold start: from the start of a process to its first result, of a photograph."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crackedge.benchmarks.peers.target import describe_target, target
from crackedge.benchmarks.peers.turns import Turn, describe_turns
from crackedge.edge_runtime.errors import OptionError, ProofError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.models.model import Model
from crackedge.edge_runtime.result_folder import RESULTS

MOST_MS = 600.0

_LOOK_S = 0.002
_RUN_S = 60.0
_FRAME = b'"type": "frame"', b'"type":"frame"'


def cold_start(
    model: Model,
    picture: Image,
    *,
    folder: Path,
    starts: int,
    threads: int,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """The time of fresh processes, after one that does not count: what can be kept from run to run is kept by then.

    Args:
        model: what they run.
        picture: (H, W, 3) uint8 RGB, stored as JPEG.
        folder: for the photograph, and for results, which are thrown away.
        starts: how many count.
        threads: of the interpreter.
        progress: is told a line before each.

    Raises:
        OptionError: no starts.
        ProofError: a process gave no result.
    """
    if starts < 1:
        raise OptionError(f"{starts} starts: expected at least 1")
    photograph = folder / "photograph.jpg"
    if not cv2.imwrite(str(photograph), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92]):
        raise OSError(f"{photograph}: cannot be written")
    results, ends = [], []
    for number in range(-1, starts):
        if number >= 0:
            progress(f"start {number + 1} of {starts}")
        first_s, end_s = _start(model, photograph, out=folder / "cold", threads=threads)
        if number >= 0:
            results.append(first_s * 1e3)
            ends.append(end_s * 1e3)
    turns = {
        "first result": [Turn(ms, np.zeros(1)) for ms in results],
        "end of the process": [Turn(ms, np.zeros(1)) for ms in ends],
    }
    goal = target("process start to first result", results, unit="ms", at_most=MOST_MS)
    return {
        "part": "cold-start",
        "model": model.identity,
        "threads": threads,
        "input": {"width": picture.shape[1], "height": picture.shape[0], "format": "JPEG"},
        "rounds": starts,
        "ways": describe_turns(turns),
        "targets": [describe_target(goal)],
    }


def _start(model: Model, photograph: Path, *, out: Path, threads: int) -> tuple[float, float]:
    """Seconds from the start of a process to its first frame in the results, and to its end.

    Python may keep compiled modules, as it does where a package was installed, whatever this process was told.
    """
    command = [sys.executable, "-m", "crackedge", "run", str(photograph), "-o", str(out), "--no-video"]
    command += ["-m", str(model.path), "--threads", str(threads)]
    shutil.rmtree(out, ignore_errors=True)
    compiled = {"PYTHONPYCACHEPREFIX": str(out.with_name("compiled"))}
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | compiled
    begin = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - this very program
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
    ) as process:
        first_s = None
        while first_s is None and process.poll() is None and time.perf_counter() - begin < _RUN_S:
            first_s = time.perf_counter() - begin if _has_result(out / RESULTS) else None
            if first_s is None:
                time.sleep(_LOOK_S)
        try:
            _, complaints = process.communicate(timeout=_RUN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    end_s = time.perf_counter() - begin
    if process.returncode or not _has_result(out / RESULTS):
        raise ProofError(f"{photograph.name}: no result, exit code {process.returncode}: {complaints.decode()[-300:]}")
    return (end_s if first_s is None else first_s), end_s


def _has_result(file: Path) -> bool:
    with contextlib.suppress(OSError):
        data = file.read_bytes()
        return any(kind in data for kind in _FRAME)
    return False
