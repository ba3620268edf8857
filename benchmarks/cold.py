"""From the start of a process to its first result: what a robot waits for after power-on, less the system's own start.

    python -m crackedge.benchmarks.cold MODEL FRAMES.npy ENGINE STRIDE THREADS INPUT_RANGE CRACK_INDEX

does what a user's script does, imports, opens a model, scans one frame, and says when each was done. The files are in
the system's cache by then. Nothing is imported at the top that the child would pay for.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from crackedge.benchmarks.restarts import Setup

STAGES = ("start", "import", "model", "first frame")  # start: of the interpreter; model: opened and proven


def start_to_first_result(setup: Setup, folder: Path) -> dict[str, float]:
    """Milliseconds of one start, ``total`` and by stage. The clock is the system's, so both processes read the same.

    Raises:
        ModelError: the child did not end well.
        CrackedgeError: of the class that the child raised.
    """
    from crackedge.benchmarks.restarts import run_module

    words = (setup.engine, setup.stride, setup.threads, setup.input_range, setup.crack_index)
    arguments = [setup.model, str(folder / setup.frames), *("" if word is None else str(word) for word in words)]
    started_s = time.monotonic()
    found: dict[str, Any] = run_module("crackedge.benchmarks.cold", arguments)
    moments = [started_s, *(found[stage] for stage in STAGES)]
    stages = {
        stage: (later - earlier) * 1e3 for stage, earlier, later in zip(STAGES, moments, moments[1:], strict=False)
    }
    return {"total": sum(stages.values()), **stages}


def _first_result(model: str, frames: str, *words: str) -> dict[str, float]:
    engine, stride, threads, input_range, crack_index = (word or None for word in words)
    moments = {"start": time.monotonic()}
    import numpy as np

    from crackedge.edge_runtime.models.model import open_model
    from crackedge.edge_runtime.scan.scanner import Scanner

    frame = np.load(frames, mmap_mode="r")[0]
    moments["import"] = time.monotonic()
    opened = open_model(model, input_range=input_range, crack_index=int(crack_index) if crack_index else None)
    with Scanner(
        opened,
        engine=engine or "auto",
        stride=int(stride) if stride else None,
        threads=int(threads) if threads else None,
    ) as scanner:
        moments["model"] = time.monotonic()
        scanner(np.ascontiguousarray(frame))
        moments["first frame"] = time.monotonic()
    return moments


if __name__ == "__main__":
    from crackedge.benchmarks.restarts import answer  # only what is imported above the call counts as start

    answer(lambda: _first_result(*sys.argv[1:]))
