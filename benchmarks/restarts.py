"""Measuring in processes of their own, because runs differ more between processes than within one.

    python -m crackedge.benchmarks.restarts SETUP.json

measures what the setup says and prints it as JSON; an error of crackedge's is printed as JSON, too, and raised again by
the process that asked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crackedge.edge_runtime.models.model import Model


@dataclass(frozen=True, slots=True)
class Setup:
    """What a process is to measure, in words and numbers that fit into JSON.

    Attributes:
        model: path of the file.
        frames: name of the file of frames in the folder of the setup.
        clip: path of the video.
        source: where the frames came from.
        scenarios: as for :func:`crackedge.benchmarks.scenarios.measure`.
        duration_s: as there, and so are ``fps``, ``engine``, ``stride`` and ``threads``.
        input_range: of a model without a card, as for :func:`crackedge.edge_runtime.models.model.open_model`.
        crack_index: the same.
    """

    model: str
    frames: str
    clip: str
    source: str
    scenarios: tuple[str, ...]
    duration_s: float
    fps: float = 30.0
    engine: str = "auto"
    stride: int | None = None
    threads: int | None = None
    input_range: str | None = None
    crack_index: int | None = None


def cardless_words(model: Model) -> dict[str, Any]:
    """``input_range`` and ``crack_index`` with which :func:`open_model` opens the same again."""
    from crackedge.edge_runtime.models.model import INPUT_RANGES

    if model.has_card:
        return {"input_range": None, "crack_index": None}
    names = {ends: name for name, ends in INPUT_RANGES.items()}
    return {
        "input_range": None if model.input_range is None else names[model.input_range],
        "crack_index": model.crack_index,
    }


def measure_in_child(setup: Setup, folder: Path) -> dict[str, Any]:
    """What :func:`crackedge.benchmarks.scenarios.measure` gives, measured by a fresh process.

    Args:
        setup: what to measure.
        folder: where the setup's files are, and where the setup itself is written to.

    Raises:
        ModelError: the child did not end well.
        CrackedgeError: of the class that the child raised.
    """
    file = folder / "setup.json"
    file.write_text(json.dumps(asdict(setup)), encoding="utf-8")
    return run_module("crackedge.benchmarks.restarts", [str(file)])


def run_module(module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """What a module prints as JSON when a fresh interpreter runs it; see :func:`answer`.

    Raises:
        ModelError: the child did not end well.
        CrackedgeError: of the class that the child raised.
    """
    from crackedge.edge_runtime import errors

    done = subprocess.run(  # noqa: S603 - this interpreter, our module
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False
    )
    try:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        said = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        why = ", probably for lack of memory" if done.returncode == -9 else ""
        raise errors.ModelError(
            f"the measuring process ended with {how}{why}, and said: {said[0]}; try a smaller --size or model"
        ) from error
    if "error" in found:
        kind: type[errors.CrackedgeError] = getattr(errors, found["error"])
        raise kind(found["message"])
    return found


def answer(work: Callable[[], dict[str, Any]]) -> None:
    """Print what the work gives, or the error of ours that it raises, as one line of JSON."""
    from crackedge.edge_runtime.errors import CrackedgeError

    try:
        found = work()
    except CrackedgeError as error:
        found = {"error": type(error).__name__, "message": str(error)}
    sys.stdout.write(json.dumps(found) + "\n")


def _measure(file: Path) -> dict[str, Any]:
    import numpy as np

    from crackedge.benchmarks.footage import Footage
    from crackedge.benchmarks.scenarios import measure
    from crackedge.edge_runtime.models.model import open_model

    words = json.loads(file.read_text(encoding="utf-8"))
    setup = Setup(**words)
    frames = list(np.load(file.parent / setup.frames))
    model = open_model(setup.model, input_range=setup.input_range, crack_index=setup.crack_index)
    return measure(
        model,
        Footage(frames, Path(setup.clip), setup.source),
        scenarios=setup.scenarios,
        duration_s=setup.duration_s,
        fps=setup.fps,
        engine=setup.engine,
        stride=setup.stride,
        threads=setup.threads,
    )


if __name__ == "__main__":
    answer(lambda: _measure(Path(sys.argv[1])))
