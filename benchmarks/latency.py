"""How fast a model is on this machine: one tile, one frame, and a stream at a camera's pace.

- *tile*: one call of the network on one 224x224 tile, pixels already inside it;
- *frame*: a frame in memory to its crack regions, everything between included;
- *stream*: frames that a camera gives at its own pace, the newest taken and the others dropped; what counts is the age
  of a frame when its result is there.

The pictures are those of a scene, never noise: what a network sees changes neither its work nor its time, but how many
regions there are to find does. Every sample is kept; percentiles are derived from them (nearest rank: a time that was
really measured). The time before the first sample is the warm-up and stands apart.
"""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crackedge.benchmarks.machine import describe_machine, format_machine, temperature_c
from crackedge.benchmarks.table import Figure, aligned
from crackedge.edge_runtime.engine import TilesEngine
from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.lattice import TILE
from crackedge.edge_runtime.model import Model
from crackedge.edge_runtime.scanner import Scanner
from crackedge.edge_runtime.scenes import parse_scene

SCHEMA = 1
SCENARIOS = {
    "tile": "one call of the network on a 224x224 tile",
    "frame": "a frame in memory to its crack regions",
    "stream": "age of a frame when its result is there, newest frame first",
}
PERCENTILES = (50, 90, 99)

Clock = Callable[[], float]  # seconds, monotonic
Stages = Mapping[str, float]  # milliseconds by stage, of one call

_FRAMES = 8  # different ones in memory, taken in turn
_WARMUP_CALLS = 5
_WARMUP_S = 0.5
_LEAST_SAMPLES = 3


@dataclass(frozen=True, slots=True)
class Samples:
    """What was measured in one go, in the order of measuring.

    Attributes:
        first_ms: the very first call, which pays for what is made once.
        warmup_calls: calls before the samples, the first included.
        total_ms: of each call.
        stages_ms: what each call said of its own stages.
    """

    first_ms: float
    warmup_calls: int
    total_ms: tuple[float, ...]
    stages_ms: tuple[Stages, ...] = ()


@dataclass(frozen=True, slots=True)
class Paced:
    """What became of the frames of a camera.

    Attributes:
        captured: frames that the camera gave.
        numbers: of the frames that were worked on; the others were dropped.
        age_ms: from each one's capture to its result.
        elapsed_s: from the first capture to the last result.
    """

    captured: int
    numbers: tuple[int, ...]
    age_ms: tuple[float, ...]
    elapsed_s: float

    @property
    def dropped(self) -> int:
        """Frames that were passed over because a newer one was there."""
        return self.captured - len(self.numbers)


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that at least ``percent`` of all do not exceed (nearest rank).

    Raises:
        OptionError: no samples, or a percentage outside 0..100.
    """
    if not samples or not 0 < percent <= 100:
        raise OptionError(f"percentile {percent} of {len(samples)} samples: expected 0 to 100 of at least one")
    rank = math.ceil(percent / 100 * len(samples) - 1e-9)
    return sorted(samples)[max(1, rank) - 1]


def spread(samples_ms: Sequence[float]) -> dict[str, float | int]:
    """Number, percentiles, maximum and mean of samples."""
    return {
        "n": len(samples_ms),
        **{f"p{percent}": percentile(samples_ms, percent) for percent in PERCENTILES},
        "max": max(samples_ms),
        "mean": math.fsum(samples_ms) / len(samples_ms),
    }


def sample(
    call: Callable[[int], Stages | None],
    *,
    duration_s: float,
    warmup_calls: int = _WARMUP_CALLS,
    warmup_s: float = _WARMUP_S,
    clock: Clock = time.perf_counter,
) -> Samples:
    """Time a call again and again.

    Args:
        call: is given the number of the call, and may give its stages in milliseconds; ``"total"`` among them replaces
            the time that was taken from outside.
        duration_s: how long to measure, after the warm-up; three samples at least.
        warmup_calls: calls before the first sample, at least one.
        warmup_s: and for at least so long.
        clock: for tests.

    Raises:
        OptionError: the duration is not positive.
    """
    _check_positive("duration", duration_s, "s")

    def timed(number: int) -> tuple[float, Stages]:
        before = clock()
        stages = call(number) or {}
        total = (clock() - before) * 1e3
        return stages.get("total", total), {name: ms for name, ms in stages.items() if name != "total"}

    begin = clock()
    first_ms, _ = timed(0)
    calls = 1
    while calls < max(1, warmup_calls) or clock() - begin < warmup_s:
        timed(calls)
        calls += 1
    samples: list[tuple[float, Stages]] = []
    begin = clock()
    while len(samples) < _LEAST_SAMPLES or clock() - begin < duration_s:
        samples.append(timed(calls + len(samples)))
    return Samples(first_ms, calls, tuple(total for total, _ in samples), tuple(stages for _, stages in samples))


def pace(
    work: Callable[[int], None],
    *,
    fps: float,
    duration_s: float,
    clock: Clock = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Paced:
    """Work on the newest frame of a camera that captures frame ``k`` exactly ``k / fps`` seconds after its start.

    The schedule is absolute: work that takes long does not slow the camera down, it makes frames be dropped.

    Args:
        work: is given the frame's number.
        fps: of the camera.
        duration_s: how long it captures.
        clock: for tests.
        sleep: for tests.

    Raises:
        OptionError: pace or duration are not positive.
    """
    _check_positive("fps", fps, "frames a second")
    _check_positive("duration", duration_s, "s")
    captured = max(1, math.ceil(duration_s * fps - 1e-6))
    numbers: list[int] = []
    ages: list[float] = []
    start = clock()
    done = 0.0
    next_number = 0
    while next_number < captured:
        newest = min(math.floor((clock() - start) * fps + 1e-6), captured - 1)
        if newest < next_number:
            sleep(max(0.0, next_number / fps - (clock() - start)))
            continue
        work(newest)
        done = clock() - start
        numbers.append(newest)
        ages.append((done - newest / fps) * 1e3)
        next_number = newest + 1
    return Paced(captured, tuple(numbers), tuple(ages), done)


def scene_frames(*, width: int = 1920, height: int = 1080, count: int = _FRAMES) -> list[Image]:
    """Frames of a synthetic wall with cracks, (height, width, 3) uint8 RGB, always the same."""
    return [frame.image for frame in parse_scene(f"scene:concrete?seed=7&frames={count}&size={width}x{height}")]


def parse_size(text: str) -> tuple[int, int]:
    """Width and height in pixels from ``WIDTHxHEIGHT``.

    Raises:
        OptionError: it is not that.
    """
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isascii() and height.isascii() and width.isdigit() and height.isdigit()):
        raise OptionError(f"size {text!r}: expected WIDTHxHEIGHT in pixels, such as 1920x1080")
    if not (int(width) and int(height)):
        raise OptionError(f"size {text!r}: expected at least 1x1 pixels")
    return int(width), int(height)


def bench(
    model: Model,
    *,
    scenarios: Sequence[str] = tuple(SCENARIOS),
    duration_s: float = 5.0,
    size: tuple[int, int] = (1920, 1080),
    fps: float = 30.0,
    engine: str = "auto",
    stride: int | None = None,
    threads: int | None = None,
    frames: Sequence[Image] | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure a model on this machine; ready to be written as JSON.

    Args:
        model: an opened model.
        scenarios: which of :data:`SCENARIOS`, in this order.
        duration_s: for each, after its warm-up.
        size: width and height of the scene's frames in pixels.
        fps: of the stream's camera.
        engine: ``"auto"``, ``"tiles"`` or ``"dense"``, for frame and stream.
        stride: distance between windows in pixels, for frame and stream; None takes the engine's default.
        threads: of the interpreter; None takes its default.
        frames: (H, W, 3) uint8 RGB pictures to measure on instead of the scene's, of one size.
        progress: is told the name of each scenario as it begins.

    Raises:
        OptionError: an option has a value that cannot be used.
        ModelError: the model does not run.
    """
    unknown = [name for name in scenarios if name not in SCENARIOS]
    if unknown or not scenarios:
        raise OptionError(f"scenario {', '.join(unknown) or 'none'}: expected some of {', '.join(SCENARIOS)}")
    _check_positive("duration", duration_s, "s")
    _check_positive("fps", fps, "frames a second")
    machine = describe_machine()  # before the work of rendering: its load is part of what is said
    own = frames is None
    pictures = scene_frames(width=size[0], height=size[1]) if frames is None else list(frames)
    if not pictures or any(picture.shape != pictures[0].shape for picture in pictures):
        raise OptionError(f"{len(pictures)} frames: expected at least one, all of one size")
    with Scanner(model, engine=engine, stride=stride, threads=threads) as scanner:
        plan = scanner.plan
        measured: dict[str, Any] = {}
        for name in scenarios:
            if progress is not None:
                progress(name)
            if name == "tile":
                measured[name] = _tile(model, pictures, threads=plan.threads, duration_s=duration_s)
            elif name == "frame":
                measured[name] = _frame(scanner, pictures, duration_s=duration_s)
            else:
                measured[name] = _stream(scanner, pictures, fps=fps, duration_s=duration_s)
    return {
        "schema": SCHEMA,
        "started_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine,
        "temperature_after_c": temperature_c(),
        "model": model.identity,
        "plan": {
            "engine": plan.engine,
            "stride": plan.stride,
            "threads": plan.threads,
            "runtime": plan.runtime,
        },
        "input": {
            "width": pictures[0].shape[1],
            "height": pictures[0].shape[0],
            "pictures": len(pictures),
            "source": "scene" if own else "given",
        },
        "scenarios": measured,
    }


def format_bench(result: Mapping[str, Any]) -> str:
    """A measurement as tables for the terminal."""
    model, plan, given = result["model"], result["plan"], result["input"]
    rows: list[list[Figure]] = []
    notes: list[str] = []
    for name, one in result["scenarios"].items():
        figures = one["ms"]
        rows.append([name, figures["n"], *(figures[f"p{percent}"] for percent in PERCENTILES), figures["max"]])
        if stages := one["stages_ms"]:
            parts = ", ".join(f"{stage} {figures['p50']:.2f}" for stage, figures in stages.items())
            notes.append(f"{name}: median ms by stage: {parts}")
        if name == "stream":
            notes.append(
                f"stream: camera at {one['fps']:g} frames a second, {one['captured']} captured, "
                f"{one['dropped']} dropped, {one['results_per_s']:.1f} results a second"
            )
    return "\n".join(
        [
            f"model {model['name']} ({model['quantization']}, sha256 {model['sha256'][:12]}), engine {plan['engine']} "
            f"at stride {plan['stride']} px, {plan['threads']} threads, {plan['runtime']}, "
            f"{given['source']} {given['width']}x{given['height']}",
            format_machine(result["machine"]),
            aligned(["ms", "n", *(f"p{percent}" for percent in PERCENTILES), "max"], rows, digits=2),
            *notes,
        ]
    )


def _tile(model: Model, frames: Sequence[Image], *, threads: int, duration_s: float) -> dict[str, Any]:
    scan = TilesEngine(model, threads=threads, batch=1)
    tiles = _tiles_of(frames)

    def call(number: int) -> Stages:
        scan(tiles[number % len(tiles)])
        return {"total": scan.timing_ms["invoke"]}

    return _entry("tile", sample(call, duration_s=duration_s))


def _frame(scanner: Scanner, frames: Sequence[Image], *, duration_s: float) -> dict[str, Any]:
    def call(number: int) -> Stages:
        return scanner(frames[number % len(frames)]).timing_ms

    return _entry("frame", sample(call, duration_s=duration_s))


def _stream(scanner: Scanner, frames: Sequence[Image], *, fps: float, duration_s: float) -> dict[str, Any]:
    warm = sample(lambda number: scanner(frames[number % len(frames)]).timing_ms, duration_s=1e-3)
    stages: list[Stages] = []

    def work(number: int) -> None:
        stages.append(scanner(frames[number % len(frames)]).timing_ms)

    paced = pace(work, fps=fps, duration_s=duration_s)
    warmup_calls = warm.warmup_calls + len(warm.total_ms)
    return {
        **_entry("stream", Samples(warm.first_ms, warmup_calls, paced.age_ms, tuple(stages))),
        "fps": fps,
        "captured": paced.captured,
        "dropped": paced.dropped,
        "results_per_s": len(paced.numbers) / max(paced.elapsed_s, paced.captured / fps),
        "frame_numbers": list(paced.numbers),
    }


def _entry(scenario: str, samples: Samples) -> dict[str, Any]:
    names = list(samples.stages_ms[0]) if samples.stages_ms else []
    by_stage = {name: [stages[name] for stages in samples.stages_ms] for name in names}
    return {
        "what": SCENARIOS[scenario],
        "warmup": {"calls": samples.warmup_calls, "first_ms": samples.first_ms},
        "ms": spread(samples.total_ms),
        "stages_ms": {name: spread(values) for name, values in by_stage.items()},
        "samples_ms": list(samples.total_ms),
        "stage_samples_ms": by_stage,
    }


def _tiles_of(frames: Sequence[Image]) -> list[Image]:
    """The middle tile of each frame; a frame smaller than a tile as it is, to be padded."""
    tiles = []
    for frame in frames:
        height, width = frame.shape[:2]
        y, x = max(0, (height - TILE) // 2), max(0, (width - TILE) // 2)
        tiles.append(np.ascontiguousarray(frame[y : y + TILE, x : x + TILE]))
    return tiles


def _check_positive(what: str, value: float, unit: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise OptionError(f"{what} {value:g} {unit}: expected more than 0")
