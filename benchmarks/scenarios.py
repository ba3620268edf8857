"""What is timed, in one process: from one call of the network to a whole run over a video.

- *tile*: one call of the network on one 224x224 tile, pixels already inside it;
- *frame*: a frame in memory to its crack regions, everything between included;
- *stream*: frames that a camera gives at its own pace, the newest taken and the others dropped, through a real run that
  writes results and a marked video; what counts is the age of a frame when its result is written;
- *file*: a video as fast as it goes, through a real run: decoded, scanned, marked, encoded, in its threads; what counts
  is the time from one result to the next;
- *null*: *frame* with a scanner that does nothing: what the harness itself adds to a figure.

*cold* starts processes of its own: :mod:`crackedge.benchmarks.cold`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from crackedge.benchmarks.energy import EnergyMeter
from crackedge.benchmarks.footage import Footage
from crackedge.benchmarks.machine import NOT_MEASURED
from crackedge.benchmarks.memory import forget_peak, peak_memory_mib, resident_memory_mib
from crackedge.benchmarks.sampling import Raw, Stages, check_positive, sample, stages_of
from crackedge.benchmarks.steadiness import disturbance, processor_times
from crackedge.benchmarks.timed_runs import time_file, time_stream
from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.lattice import TILE
from crackedge.edge_runtime.models.model import Model
from crackedge.edge_runtime.scan.scanner import Scanner

SCENARIOS = {
    "tile": "one call of the network on a 224x224 tile",
    "frame": "a frame in memory to its crack regions",
    "stream": "age of a camera's frame when its result is written, newest frame first",
    "file": "from one result to the next, a video as fast as it goes",
    "cold": "start of a process to its first result",
    "null": "the harness' own cost: frame, with a scanner that does nothing",
}

_NULL_S = 2e-3  # some thousand samples


class Timed(Protocol):
    """What a scan says of itself."""

    @property
    def timing_ms(self) -> Mapping[str, float]:
        """By stage."""
        ...


Scan = Callable[[Image], Timed]


def check_scenarios(scenarios: Sequence[str]) -> None:
    """Refuse scenarios that there are not, and none.

    Raises:
        OptionError: says which there are.
    """
    unknown = [name for name in scenarios if name not in SCENARIOS]
    if unknown or not scenarios:
        raise OptionError(f"scenario {', '.join(unknown) or 'none'}: expected some of {', '.join(SCENARIOS)}")


def measure(
    model: Model,
    footage: Footage,
    *,
    scenarios: Sequence[str],
    duration_s: float,
    fps: float = 30.0,
    engine: str = "auto",
    stride: int | None = None,
    threads: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Time scenarios in this process, one after the other; ready to be written as JSON.

    Args:
        model: an opened model.
        footage: what to measure on.
        scenarios: some of :data:`SCENARIOS` without ``"cold"``, in this order.
        duration_s: for each, after its warm-up.
        fps: of the stream's camera.
        engine: ``"auto"``, ``"tiles"`` or ``"dense"``, for all but tile.
        stride: distance between windows in pixels, for all but tile; None takes the engine's default.
        threads: of the interpreter; None takes its default.
        progress: is told the name of each scenario as it begins.

    Raises:
        OptionError: an option has a value that cannot be used, or the footage lacks a video that a scenario needs.
        ModelError: the model does not run.
        OutputError: results cannot be written to the folder for temporary files.
    """
    check_scenarios(scenarios)
    check_positive("duration", duration_s, "s")
    check_positive("fps", fps, "frames a second")
    before_mib = resident_memory_mib()
    measured: dict[str, Any] = {}
    with Scanner(model, engine=engine, stride=stride, threads=threads) as scanner:
        plan = scanner.plan
        scanner(footage.frames[0])
        after_mib = resident_memory_mib()
        ways: dict[str, Callable[[], Raw]] = {
            "tile": lambda: _tile(model, footage.frames, threads=plan.threads, duration_s=duration_s),
            "frame": lambda: _frame(scanner, footage.frames, duration_s=duration_s),
            "stream": lambda: time_stream(scanner, footage.frames, fps=fps, duration_s=duration_s),
            "file": lambda: time_file(scanner, footage.clip, duration_s=duration_s),
            "null": lambda: _frame(_Nothing(), footage.frames, duration_s=min(duration_s, _NULL_S)),
        }
        for name in scenarios:
            progress(name)
            measured[name] = _watched(ways[name])
    return {
        "plan": {
            "engine": plan.engine,
            "stride": plan.stride,
            "threads": plan.threads,
            "interpreters": plan.interpreters,
            "batch": plan.batch,
            "runtime": plan.runtime,
            "delegate": plan.delegate,
        },
        "network_mib": NOT_MEASURED if before_mib is None or after_mib is None else max(0, after_mib - before_mib),
        "scenarios": measured,
    }


def _watched(way: Callable[[], Raw]) -> dict[str, Any]:
    """A scenario's raw figures, with what the machine was busy with, memory and energy meanwhile."""
    forget_peak()
    before = processor_times()
    with EnergyMeter() as energy:
        raw = way()
    disturbed = disturbance(before, processor_times())
    peak_mib = peak_memory_mib()
    stages = stages_of(raw.samples.stages_ms) | dict(raw.stages_ms)
    return {
        "warmup": {"calls": raw.samples.warmup_calls, "first_ms": _rounded([raw.samples.first_ms])[0]},
        "samples_ms": _rounded(raw.samples.total_ms),
        "stage_samples_ms": {name: _rounded(values) for name, values in stages.items()},
        "disturbance": disturbed,
        "peak_memory_mib": NOT_MEASURED if peak_mib is None else peak_mib,
        "energy": {
            "source": energy.source,
            "joules_per_call": NOT_MEASURED if energy.joules is None else energy.joules / raw.samples.calls,
        },
        **raw.details,
    }


def _tile(model: Model, frames: Sequence[Image], *, threads: int, duration_s: float) -> Raw:
    network = model.interpreter(threads=threads)
    network.resize(1, TILE, TILE)
    write = network.pixel_writer(model.input_range or (0.0, 255.0))
    tiles = _tiles_of(frames)

    def call(number: int) -> Stages:
        write(tiles[number % len(tiles)], network.input()[0])
        return _invoked(network.invoke)

    return Raw(sample(call, duration_s=duration_s))


def _invoked(invoke: Callable[[], object]) -> Stages:
    before = time.perf_counter()
    invoke()
    return {"total": (time.perf_counter() - before) * 1e3}


def _frame(scan: Scan, frames: Sequence[Image], *, duration_s: float) -> Raw:
    return Raw(sample(lambda number: scan(frames[number % len(frames)]).timing_ms, duration_s=duration_s))


class _Nothing:
    """A scanner that costs nothing, and its result."""

    timing_ms: dict[str, float] = {"prepare": 0.0, "invoke": 0.0, "regions": 0.0}  # noqa: RUF012 - never written to

    def __call__(self, _: Image) -> Timed:
        return self


def _tiles_of(frames: Sequence[Image]) -> list[Image]:
    """The middle tile of each frame; of a frame smaller than a tile, with its edges repeated."""
    tiles = []
    for frame in frames:
        height, width = frame.shape[:2]
        y, x = max(0, (height - TILE) // 2), max(0, (width - TILE) // 2)
        tile = frame[y : y + TILE, x : x + TILE]
        missing = [(0, TILE - tile.shape[0]), (0, TILE - tile.shape[1]), (0, 0)]
        tiles.append(np.ascontiguousarray(np.pad(tile, missing, mode="edge")))
    return tiles


def _rounded(values_ms: Sequence[float]) -> list[float]:
    """To ten nanoseconds, finer than clocks are."""
    return [round(float(value), 5) for value in values_ms]
