"""Reuse on a moving camera against full scans of the same frames: pixels saved, cells lost.

    python -m crackedge.benchmarks.reuse [VIDEO | scene:...]... [--model nano] [--frames 150] [--json FILE]

*Lost* is a cracked cell of the full scan with no cracked cell of the carried map within one cell of it; *added* is the
same the other way round. *Repeated* is what the full scan itself loses, by the same measure, when the frame is scanned
once more with a grain of two grey levels on top: below it no figure says anything about carrying. Pixels are those that
went through the network, halos counted. Exits with 5 where a source misses one of the two limits.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from crackedge.benchmarks.machine import describe_machine, format_machine
from crackedge.benchmarks.program import PROOF_FAILED, errors_in_a_line, write_figures
from crackedge.benchmarks.table import Figure, aligned
from crackedge.edge_runtime.errors import OptionError, SourceError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.models.model import DEFAULT_MODEL, Model, open_model
from crackedge.edge_runtime.scan.audit import lost_cells
from crackedge.edge_runtime.scan.scanner import FrameResult, Scanner
from crackedge.edge_runtime.sources.opening import open_source

SCHEMA = 1
SOURCES = (
    "scene:",
    "scene:plaster?seed=1",
    "scene:asphalt?seed=3",
    "scene:board-concrete?seed=4",
    "scene:?seed=5&size=1920x1080",
)
FRAMES = 150
FEWER_PIXELS = 3.0
MOST_LOST = 0.01

_REPEAT_EVERY = 10  # frames
_GRAIN = 2.0  # grey levels


def compare(model: Model, source: str, *, frames: int = FRAMES, threads: int | None = None) -> dict[str, Any]:
    """Scan the frames of a source in both ways, in turns; ready to be written as JSON.

    Args:
        model: a logit map.
        source: what :func:`crackedge.edge_runtime.sources.opening.open_source` takes.
        frames: how many at most.
        threads: of each interpreter.

    Raises:
        OptionError: fewer than two frames are asked for.
        SourceError: the source gives fewer.
    """
    if frames < 2:
        raise OptionError(f"{frames} frames: expected at least 2, of which one can be carried to the other")
    lost = added = cracked = marked = repeated = repeatable = 0
    network: list[float] = []
    spent_ms: dict[str, list[float]] = {"full": [], "reuse": []}
    rejected: Counter[str] = Counter()
    grain = np.random.default_rng(0)
    size = ""
    with (
        Scanner(model, threads=threads) as full,
        Scanner(model, threads=threads, reuse=True) as reusing,
        open_source(source) as opened,
    ):
        for number, frame in enumerate(itertools.islice(opened, frames)):
            size = f"{frame.image.shape[1]}x{frame.image.shape[0]}"
            whole = _timed(full, frame.image, frame.time_s, spent_ms["full"])
            partial = _timed(reusing, frame.image, frame.time_s, spent_ms["reuse"])
            there, here = _cells(whole), _cells(partial)
            lost, cracked = lost + lost_cells(there, here), cracked + int(there.sum())
            added, marked = added + lost_cells(here, there), marked + int(here.sum())
            network.append(1.0 if partial.coverage is None else partial.coverage.network)
            if partial.coverage is not None and partial.coverage.rejected:
                rejected[partial.coverage.rejected] += 1
            if number % _REPEAT_EVERY == 0:
                noisy = frame.image + grain.normal(0, _GRAIN, frame.image.shape)
                again = _cells(full(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)))
                repeated, repeatable = repeated + lost_cells(there, again), repeatable + int(there.sum())
    if len(network) < 2:
        raise SourceError(f"{source}: {len(network)} frames; expected at least 2, of which one is carried to the other")
    return {
        "source": source if source.startswith("scene:") else Path(source).name,
        "size": size,
        "frames": len(network),
        "fewer_pixels": 1 / max(statistics.fmean(network), 1e-9),
        "full_scans": sum(share == 1.0 for share in network),
        "cracked_cells": cracked,
        "lost": lost / cracked if cracked else 0.0,
        "added": added / marked if marked else 0.0,
        "repeated_lost": repeated / repeatable if repeatable else 0.0,
        "rejected": dict(rejected),
        "mean_ms": {way: statistics.fmean(samples[1:]) for way, samples in spent_ms.items()},
        "samples_ms": spent_ms,
    }


def format_results(results: list[dict[str, Any]]) -> str:
    """The comparisons as a table for the terminal."""
    rows: list[list[Figure]] = [
        [
            one["source"],
            one["size"],
            one["frames"],
            one["fewer_pixels"],
            *(f"{100 * one[name]:.2f}%" for name in ("lost", "added", "repeated_lost")),
            one["mean_ms"]["full"] / one["mean_ms"]["reuse"],
        ]
        for one in results
    ]
    header = ["source", "size", "frames", "fewer pixels", "lost", "added", "repeated", "times as fast"]
    return aligned(header, rows, digits=2)


@click.command(help="Reuse on a moving camera against full scans of the same frames.")
@click.argument("sources", nargs=-1)
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name of a shipped model, or a .tflite file.")
@click.option(
    "--frames", default=FRAMES, show_default=True, type=click.IntRange(min=2), help="Of each source, at most."
)
@click.option("--threads", type=click.IntRange(min=1), help="Of each interpreter.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write all samples there.")
def main(sources: tuple[str, ...], model: str, frames: int, threads: int | None, json_path: Path | None) -> None:
    """Compare, print and judge."""
    with errors_in_a_line():
        machine = describe_machine()
        opened = open_model(model)
        results = []
        for source in sources or SOURCES:
            click.echo(f"{source} ...", err=True)
            results.append(compare(opened, source, frames=frames, threads=threads))
        report = {"schema": SCHEMA, "machine": machine, "model": opened.identity, "sources": results}
        write_figures(json_path, report)
    click.echo(format_machine(machine))
    click.echo(format_results(results))
    missed = [one["source"] for one in results if one["fewer_pixels"] < FEWER_PIXELS or one["lost"] > MOST_LOST]
    if missed:
        limits = f"at least {FEWER_PIXELS:g} times fewer pixels and at most {100 * MOST_LOST:g}% lost"
        click.echo(f"Error: {', '.join(missed)}: expected {limits}", err=True)
        sys.exit(PROOF_FAILED)


def _timed(scanner: Scanner, image: Image, time_s: float, samples: list[float]) -> FrameResult:
    before = time.perf_counter()
    result = scanner(image, time_s=time_s)
    samples.append((time.perf_counter() - before) * 1e3)
    return result


def _cells(result: FrameResult) -> npt.NDArray[np.bool_]:
    cracked = np.zeros(result.score_map.cell_scores.shape, bool)
    for region in result.regions:
        cracked[tuple(np.transpose(region.cells))] = True
    return cracked


if __name__ == "__main__":
    main()
