"""A whole 1080p frame in one pass against its 153 tiles at half overlap, measured in one run.

    python -m crackedge.benchmarks.one_pass [--model nano] [--json FILE]

Both ways start with a frame in memory and end with a probability for each of their windows: one pass has all 1512 at a
stride of 32 px, the loop has 153. Each has one interpreter of two threads and works with a batch of 1. The ways take
turns, and which goes first changes, so that a machine that slows down slows down both; a ratio is formed within a turn.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from crackedge.benchmarks.latency import scene_frames
from crackedge.benchmarks.machine import describe_machine, format_machine
from crackedge.benchmarks.table import aligned
from crackedge.edge_runtime.engine import DenseEngine
from crackedge.edge_runtime.errors import CrackedgeError, OptionError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.interpreter import Interpreter
from crackedge.edge_runtime.lattice import TILE
from crackedge.edge_runtime.model import DEFAULT_MODEL, Model, open_model
from crackedge.edge_runtime.scoremap import probabilities

SCHEMA = 1
OVERLAP_STRIDE = TILE // 2  # px
WIDTH, HEIGHT = 1920, 1080
THREADS = 2
ROUNDS = 25
AT_LEAST = 3.0
PROOF_FAILED = 5  # exit code

_WARMUP_ROUNDS = 3


class TileLoop:
    """The loop that everybody writes: tile after tile through one interpreter, as fast as that goes."""

    def __init__(self, model: Model, *, threads: int = THREADS) -> None:
        self._network = Interpreter(model.flatbuffer, threads=threads, origin=str(model.path))
        self._network.resize(1, TILE, TILE)
        self._calibration = model.card.engine_calibration("tiles")

    def __call__(self, image: Image) -> npt.NDArray[np.float32]:
        """(N,) probabilities of the tiles of an (H, W, 3) uint8 RGB image, row by row."""
        corners = half_overlap(image.shape[0], image.shape[1])
        logits = np.empty(len(corners), np.float32)
        for number, (y, x) in enumerate(corners):
            np.copyto(self._network.input()[0], image[y : y + TILE, x : x + TILE])
            logits[number] = self._network.invoke().mean()
        return probabilities(logits, scale=self._calibration.scale, bias=self._calibration.bias)


def half_overlap(height: int, width: int) -> list[tuple[int, int]]:
    """Top and left of the tiles that cover a frame, 112 px apart, the last ones at its edge: 153 for 1080p.

    Raises:
        OptionError: the frame is smaller than a tile.
    """
    if height < TILE or width < TILE:
        raise OptionError(f"frame {width}x{height} px: expected at least {TILE}x{TILE}")
    return [(y, x) for y in _starts(height) for x in _starts(width)]


def compare(model: Model, *, frames: Sequence[Image], rounds: int = ROUNDS, threads: int = THREADS) -> dict[str, Any]:
    """Time both ways in turns; ready to be written as JSON.

    Args:
        model: a logit map.
        frames: (H, W, 3) uint8 RGB, taken in turn, the same by both ways.
        rounds: how many turns, after three that do not count.
        threads: of each interpreter.

    Raises:
        OptionError: no rounds or no frames, or the model is no logit map.
        ModelError: the model does not run.
    """
    if rounds < 1 or not frames:
        raise OptionError(f"{rounds} rounds on {len(frames)} frames: expected at least one of each")
    dense, loop = DenseEngine(model, threads=threads), TileLoop(model, threads=threads)
    windows: dict[str, int] = {}

    def time_ms(way: str, image: Image) -> float:
        before = time.perf_counter()
        scores = dense(image).window_scores if way == "one pass" else loop(image)
        elapsed = (time.perf_counter() - before) * 1e3
        windows[way] = scores.size
        return elapsed

    samples: dict[str, list[float]] = {"one pass": [], "tiles": []}
    for number in range(-_WARMUP_ROUNDS, rounds):
        image = frames[number % len(frames)]
        order = ["one pass", "tiles"] if number % 2 else ["tiles", "one pass"]
        for way in order:
            elapsed = time_ms(way, image)
            if number >= 0:
                samples[way].append(elapsed)
    ratios = [tiles / one for tiles, one in zip(samples["tiles"], samples["one pass"], strict=True)]
    return {
        "schema": SCHEMA,
        "model": {"name": model.name, "file": model.path.name, "sha256": model.sha256},
        "runtime": dense.runtime,
        "threads": threads,
        "input": {"width": frames[0].shape[1], "height": frames[0].shape[0]},
        "rounds": rounds,
        "ways": {
            way: {
                "windows": windows[way],
                "median_ms": statistics.median(values),
                "min_ms": min(values),
                "max_ms": max(values),
                "samples_ms": values,
            }
            for way, values in samples.items()
        },
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios), "samples": ratios},
    }


def format_comparison(result: dict[str, Any]) -> str:
    """A comparison as a table for the terminal."""
    rows = [
        [way, one["windows"], one["median_ms"], one["min_ms"], one["max_ms"]] for way, one in result["ways"].items()
    ]
    ratio, given = result["ratio"], result["input"]
    return "\n".join(
        [
            f"model {result['model']['name']} (sha256 {result['model']['sha256'][:12]}), {result['runtime']}, "
            f"{result['threads']} threads, batch 1, {given['width']}x{given['height']}, {result['rounds']} rounds",
            aligned(["way", "windows", "median ms", "min ms", "max ms"], rows, digits=2),
            f"one pass is {ratio['median']:.2f} times as fast "
            f"(median of the rounds' ratios; {ratio['min']:.2f} to {ratio['max']:.2f})",
        ]
    )


@click.command(help="A whole 1080p frame in one pass against its 153 tiles at half overlap.")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name of a shipped model, or a .tflite file.")
@click.option("--rounds", default=ROUNDS, show_default=True, type=click.IntRange(min=1), help="Turns that count.")
@click.option("--at-least", default=AT_LEAST, show_default=True, help="Exit 5 when the median ratio is smaller.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write all samples there.")
def main(model: str, rounds: int, at_least: float, json_path: Path | None) -> None:
    """Run the comparison and print it."""
    try:
        machine = describe_machine()
        result = compare(open_model(model), frames=scene_frames(width=WIDTH, height=HEIGHT, count=2), rounds=rounds)
        if json_path is not None:
            json_path.write_text(json.dumps({**result, "machine": machine}, indent=1) + "\n", encoding="utf-8")
    except (CrackedgeError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    click.echo(format_machine(machine))
    click.echo(format_comparison(result))
    if result["ratio"]["median"] < at_least:
        click.echo(f"Error: expected one pass to be at least {at_least:g} times as fast", err=True)
        sys.exit(PROOF_FAILED)


def _starts(length: int) -> list[int]:
    last = length - TILE
    return [*range(0, last, OVERLAP_STRIDE), last]


if __name__ == "__main__":
    main()
