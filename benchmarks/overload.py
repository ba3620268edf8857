"""Does a budget hold on an overloaded machine? A camera at its pace, a busy process for each core, latencies.

    python -m crackedge.benchmarks.overload [--max-latency-ms 200] [--refresh-s 2] [--seconds 20] [--json FILE]

Frames of a synthetic flight lie in memory and are given at a camera's pace, the newest each time, as live sources do.
The latency of a frame runs from its capture to its crack regions. The same without a budget stands beside it. The first
seconds count for neither: a budget has to see what things cost. Exits with 5 where the promise was broken: the 95th
percentile above the budget, or a cell unseen for longer than the refresh.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from crackedge.benchmarks.intervals import percentile
from crackedge.benchmarks.machine import describe_machine, format_machine
from crackedge.benchmarks.program import PROOF_FAILED, errors_in_a_line, write_figures
from crackedge.benchmarks.sampling import newest_captures
from crackedge.benchmarks.table import Figure, aligned
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.models.interpreter import default_threads
from crackedge.edge_runtime.models.model import DEFAULT_MODEL, Model, open_model
from crackedge.edge_runtime.scan.budget import REFRESH_S
from crackedge.edge_runtime.scan.scanner import Scanner
from crackedge.edge_runtime.scenes.scene import parse_scene

SCHEMA = 1
WIDTH, HEIGHT, FPS = 1920, 1080, 30.0
LATENCY_MS = 200.0
SECONDS = 20.0

_FRAMES = 24  # in memory; flown over to and fro
_WARMUP_S = 3.0


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """As many processes that do nothing but take a core, at ordinary priority, until the end of the block."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(
    scanner: Scanner,
    frames: Sequence[Image],
    *,
    seconds: float,
    fps: float = FPS,
    warmup_s: float = _WARMUP_S,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Latencies and coverage of a scanner at a camera's pace; ready to be written as JSON.

    Args:
        scanner: with or without a budget.
        frames: (H, W, 3) uint8 RGB, given to and fro.
        seconds: how long the camera captures, after the warm-up.
        fps: of the camera.
        warmup_s: seconds before that count for nothing.
        clock: seconds, monotonic.
    """
    to_and_fro = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    latency_ms, stale_s, scanned = [], [], []
    gave_up: Counter[str] = Counter()
    begin = clock()
    for capture in newest_captures(fps=fps, duration_s=warmup_s + seconds, clock=clock):
        image = frames[to_and_fro[capture.number % len(to_and_fro)]]
        waited_ms = (clock() - capture.captured_s) * 1e3
        result = scanner(image, time_s=capture.captured_s, waited_ms=waited_ms)
        done_s = clock()
        if capture.captured_s - begin < warmup_s:
            continue
        latency_ms.append((done_s - capture.captured_s) * 1e3)
        stale_s.append(0.0 if result.coverage is None else result.coverage.stale_s)
        scanned.append(1.0 if result.coverage is None else result.coverage.scanned)
        gave_up.update(("nothing",) if result.coverage is None else result.coverage.gave_up or ("nothing",))
    return {
        "frames": len(latency_ms),
        "results_per_s": len(latency_ms) / seconds,
        "latency_ms": {f"p{percent}": percentile(latency_ms, percent) for percent in (50, 95, 99)},
        "longest_stale_s": max(stale_s),
        "mean_scanned": sum(scanned) / len(scanned),
        "gave_up": dict(gave_up),
        "latency_samples_ms": latency_ms,
        "stale_samples_s": stale_s,
    }


def compare(
    model: Model,
    frames: Sequence[Image],
    *,
    busy: int,
    max_latency_ms: float = LATENCY_MS,
    refresh_s: float = REFRESH_S,
    seconds: float = SECONDS,
    threads: int | None = None,
) -> dict[str, Any]:
    """Without and with a budget, one after the other, beside busy processes; ready to be written as JSON."""
    ways: dict[str, Any] = {}
    with busy_processes(busy):
        for way in ("whole frames", "budget"):
            promised = way == "budget"
            with Scanner(
                model,
                threads=threads,
                max_latency_ms=max_latency_ms if promised else None,
                refresh_s=refresh_s if promised else None,
            ) as scanner:
                ways[way] = measure(scanner, frames, seconds=seconds)
    return {
        "schema": SCHEMA,
        "model": model.identity,
        "input": {"width": frames[0].shape[1], "height": frames[0].shape[0], "fps": FPS},
        "busy_processes": busy,
        "max_latency_ms": max_latency_ms,
        "refresh_s": refresh_s,
        "ways": ways,
    }


def broken(result: dict[str, Any]) -> list[str]:
    """The promises that the budget broke, in words."""
    figures, found = result["ways"]["budget"], []
    if figures["latency_ms"]["p95"] > result["max_latency_ms"]:
        found.append(f"p95 of the latency {figures['latency_ms']['p95']:.0f} ms, budget {result['max_latency_ms']:g}")
    if figures["longest_stale_s"] > result["refresh_s"]:
        found.append(f"a cell unseen for {figures['longest_stale_s']:.2f} s, refresh {result['refresh_s']:g}")
    return found


def format_result(result: dict[str, Any]) -> str:
    """The measurement as a table for the terminal."""
    rows: list[list[Figure]] = [
        [
            way,
            one["frames"],
            *one["latency_ms"].values(),
            one["results_per_s"],
            one["longest_stale_s"],
            one["mean_scanned"],
            ", ".join(f"{name} {count}" for name, count in one["gave_up"].items()),
        ]
        for way, one in result["ways"].items()
    ]
    given = result["input"]
    header = ["latency ms", "n", "p50", "p95", "p99", "results/s", "stale s", "scanned", "gave up (frames)"]
    return "\n".join(
        [
            f"model {result['model']['name']}, {given['width']}x{given['height']} at {given['fps']:g} frames a second, "
            f"{result['busy_processes']} busy processes, budget {result['max_latency_ms']:g} ms, "
            f"refresh {result['refresh_s']:g} s",
            aligned(header, rows, digits=2),
        ]
    )


@click.command(help="Does a budget hold on an overloaded machine?")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name of a shipped model, or a .tflite file.")
@click.option("--max-latency-ms", default=LATENCY_MS, show_default=True, type=click.FloatRange(min=1))
@click.option("--refresh-s", default=REFRESH_S, show_default=True, type=click.FloatRange(min=0.1))
@click.option("--seconds", default=SECONDS, show_default=True, type=click.FloatRange(min=1), help="For each way.")
@click.option("--busy", type=click.IntRange(min=0), help="Busy processes; one for each core.")
@click.option("--threads", type=click.IntRange(min=1), help="Of the interpreter.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write all samples there.")
def main(
    model: str,
    max_latency_ms: float,
    refresh_s: float,
    seconds: float,
    busy: int | None,
    threads: int | None,
    json_path: Path | None,
) -> None:
    """Measure, print and judge."""
    with errors_in_a_line():
        machine = describe_machine()
        flight = parse_scene(f"scene:?seed=7&size={WIDTH}x{HEIGHT}&fps={FPS:g}&frames={_FRAMES}")
        frames = [frame.image for frame in itertools.islice(flight, _FRAMES)]
        result = compare(
            open_model(model),
            frames,
            busy=machine["cores_usable"] if busy is None else busy,
            max_latency_ms=max_latency_ms,
            refresh_s=refresh_s,
            seconds=seconds,
            threads=default_threads() if threads is None else threads,
        )
        write_figures(json_path, {**result, "machine": machine})
    click.echo(format_machine(machine))
    click.echo(format_result(result))
    if found := broken(result):
        click.echo(f"Error: {'; '.join(found)}", err=True)
        sys.exit(PROOF_FAILED)


if __name__ == "__main__":
    main()
