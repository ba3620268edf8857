"""Tuning: how many threads, interpreters and tiles at once are fastest for a model on this device, measured.

Only what results do not depend on is tuned: never the engine, the scale, thresholds or the stride, nor where a large
frame is cut, because a cut shows in the logits beside it (docs/adr/0009). One interpreter with all threads is always
measured, and stays unless another way beats it beyond the noise of this machine.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crackedge.edge_runtime.cache import read_cached, write_cached
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.lattice import TILE
from crackedge.edge_runtime.models.interpreter import find_runtime
from crackedge.edge_runtime.models.model import Model
from crackedge.edge_runtime.processor import processor_name, usable_cores
from crackedge.edge_runtime.scan.dense_engine import DenseEngine
from crackedge.edge_runtime.scan.engine import engine_name
from crackedge.edge_runtime.scan.tiles_engine import TILES_BATCH, TilesEngine

SCHEMA = 1
KIND = "tuning"
TUNE_S = 1.5
GAIN = 0.03  # of the time, that another way must save
ROUNDS_WON = 0.75  # of the rounds, that it must be faster in

_FEWEST_ROUNDS, _MOST_ROUNDS = 3, 40
_BATCHES = (1, 4, TILES_BATCH)
_TILES = (32, 16, 8, 4)  # windows of a frame to measure with: the most that there is time for
_FRAMES_HW = ((544, 960), (320, 576), (224, 224))


@dataclass(frozen=True, slots=True)
class Way:
    """One way to use the processor.

    Attributes:
        threads: of each interpreter.
        interpreters: at work side by side; 1 for the dense engine.
        batch: tiles that an interpreter takes at once; 1 for the dense engine, which takes a frame.
    """

    threads: int
    interpreters: int = 1
    batch: int = 1


@dataclass(frozen=True, slots=True)
class Candidate:
    """What was measured of one way.

    Attributes:
        way: which.
        scan_ms: median of a scan of the frame measured with.
        ratio: median over the rounds of its time to that of one interpreter with all threads in the same round.
        won: share of the rounds in which it was faster than that.
    """

    way: Way
    scan_ms: float
    ratio: float
    won: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """Which way was chosen, and from what.

    Attributes:
        engine: ``"tiles"`` or ``"dense"``.
        way: the choice.
        candidates: all that was measured, one interpreter with all threads first.
        rounds: how often each was measured.
        width: of the frame measured with, in pixels.
        height: of that frame.
        device: processor, cores that may be used, interpreter.
        kept_in: the file that it was read from or written to; None where it could not be kept.
        measured: whether it was measured now, and not read from the cache.
    """

    engine: str
    way: Way
    candidates: tuple[Candidate, ...]
    rounds: int
    width: int
    height: int
    device: str
    kept_in: Path | None = None
    measured: bool = True


def tuned(model: Model, *, engine: str = "auto", seconds: float = TUNE_S) -> Tuning:
    """The tuning of a model on this device: from the user's cache, or measured now and kept there.

    A cache that cannot be read or written is done without.

    Args:
        model: what runs.
        engine: ``"auto"``, ``"tiles"`` or ``"dense"``.
        seconds: about how long to measure.

    Raises:
        OptionError: the engine cannot run this model.
        ModelError: the model does not run.
    """
    return _read(model, engine_name(model, engine)) or tune(model, engine=engine, seconds=seconds)


def tune(model: Model, *, engine: str = "auto", seconds: float = TUNE_S) -> Tuning:
    """Measure anew and keep the choice; see :func:`tuned`."""
    name = engine_name(model, engine)
    ways = _ways(name)
    scans = {way: _scan(model, name, way) for way in ways}
    image = _image(name, scans[ways[0]], seconds / (len(ways) * (_FEWEST_ROUNDS + 1)))
    times: dict[Way, list[float]] = {way: [] for way in ways}
    until_s = time.perf_counter() + seconds
    for scan in scans.values():
        scan(image)  # makes room
    rounds = 0
    while rounds < _FEWEST_ROUNDS or (rounds < _MOST_ROUNDS and time.perf_counter() < until_s):
        turn = rounds % len(ways)
        for way in (*ways[turn:], *ways[:turn]):  # a slower moment of the machine hits each in turn
            times[way].append(_seconds(scans[way], image))
        rounds += 1
    candidates = tuple(_candidate(way, times[way], times[ways[0]]) for way in ways)
    tuning = Tuning(
        engine=name,
        way=_choice(candidates),
        candidates=candidates,
        rounds=rounds,
        width=image.shape[1],
        height=image.shape[0],
        device=_device(),
    )
    return _keep(model, tuning)


def format_tuning(tuning: Tuning) -> str:
    """What was chosen and why, as lines for the terminal: a table of all candidates, the choice marked."""
    origin = "measured now" if tuning.measured else "from the cache"
    lines = [
        f"tuning of the {tuning.engine} engine on {tuning.device}, {origin}: "
        f"{tuning.width}x{tuning.height} px, {tuning.rounds} rounds",
        "   interpreters  threads  batch  scan [ms]  time ratio  rounds won",
    ]
    for one in tuning.candidates:
        mark = "->" if one.way == tuning.way else "  "
        lines.append(
            f"{mark} {one.way.interpreters:12}  {one.way.threads:7}  {one.way.batch:5}  {one.scan_ms:9.2f}  "
            f"{one.ratio:10.3f}  {one.won:9.0%}"
        )
    lines.append(f"chosen: {way_text(tuning.way, tuning.engine)}; {_reason(tuning)}")
    lines.append(f"kept in {tuning.kept_in}" if tuning.kept_in else "not kept: the cache cannot be written")
    return "\n".join(lines)


def _reason(tuning: Tuning) -> str:
    first = tuning.candidates[0]
    if tuning.way == first.way:
        if len(tuning.candidates) == 1:
            return "there is no other way on one core"
        best = min(tuning.candidates[1:], key=lambda one: one.ratio)
        return (
            f"the best other way takes {best.ratio:.3f} of its time and is faster in {best.won:.0%} of the rounds "
            f"(asked for: at most {1 - GAIN:.2f}, in {ROUNDS_WON:.0%})"
        )
    chosen = next(one for one in tuning.candidates if one.way == tuning.way)
    return f"it takes {chosen.ratio:.3f} of the time of {way_text(first.way, tuning.engine)}"


def way_text(way: Way, engine: str) -> str:
    """A way in words."""
    interpreters = f"{way.interpreters} interpreter{'' if way.interpreters == 1 else 's'}"
    threads = f"{way.threads} thread{'' if way.threads == 1 else 's'}"
    each = "" if way.interpreters == 1 else " each"
    return f"{interpreters} of {threads}{each}" + (f", batch {way.batch}" if engine == "tiles" else "")


def _ways(engine: str) -> list[Way]:
    """What to measure, one interpreter with all threads first."""
    cores = usable_cores()
    if engine == "dense":
        return [Way(threads) for threads in sorted({cores, -(-cores // 2), min(cores, 4)}, reverse=True)]
    splits = [(1, cores), *((count, cores // count) for count in (2, cores) if 1 < count <= cores)]
    ways = [Way(threads, count, batch) for count, threads in dict.fromkeys(splits) for batch in _BATCHES]
    first = Way(cores, 1, TILES_BATCH)
    return [first, *(way for way in ways if way != first)]


def _scan(model: Model, engine: str, way: Way) -> DenseEngine | TilesEngine:
    if engine == "dense":
        return DenseEngine(model, threads=way.threads)
    return TilesEngine(model, threads=way.threads, interpreters=way.interpreters, batch=way.batch)


def _image(engine: str, scan: DenseEngine | TilesEngine, affordable_s: float) -> Image:
    """The largest frame that there is time for, of noise: a network takes as long for one picture as for another."""
    smallest = np.random.default_rng(0).integers(0, 256, (TILE, TILE, 3), np.uint8)
    scan(smallest)
    tile_s = min(_seconds(scan, smallest) for _ in range(2))
    if engine == "dense":
        sizes_hw = [*_FRAMES_HW]
        costs_s = [tile_s * height * width / TILE**2 for height, width in sizes_hw]
    else:
        stride = scan.stride
        sizes_hw = [(TILE, TILE + stride * (count - 1)) for count in _TILES]
        costs_s = [tile_s * count for count in _TILES]
    height, width = next(
        (size for size, cost_s in zip(sizes_hw, costs_s, strict=True) if cost_s <= affordable_s), sizes_hw[-1]
    )
    return np.ascontiguousarray(np.tile(smallest, (-(-height // TILE), -(-width // TILE), 1))[:height, :width])


def _seconds(scan: DenseEngine | TilesEngine, image: Image) -> float:
    started = time.perf_counter()
    scan(image)
    return time.perf_counter() - started


def _candidate(way: Way, times_s: list[float], base_s: list[float]) -> Candidate:
    ratios = [one / base for one, base in zip(times_s, base_s, strict=True)]
    won = sum(ratio < 1 for ratio in ratios) / len(ratios)
    return Candidate(way, round(float(np.median(times_s)) * 1e3, 3), round(float(np.median(ratios)), 4), round(won, 4))


def _choice(candidates: tuple[Candidate, ...]) -> Way:
    better = [one for one in candidates if one.ratio <= 1 - GAIN and one.won >= ROUNDS_WON]
    return min(better, key=lambda one: one.ratio, default=candidates[0]).way


def _device() -> str:
    return f"{processor_name() or 'an unnamed processor'}, {usable_cores()} cores, {find_runtime().label}"


def _identity(model: Model, engine: str) -> dict[str, Any]:
    """What a tuning holds for."""
    return {
        "schema": SCHEMA,
        "model": model.sha256,
        "delegate": model.delegate,
        "engine": engine,
        "device": _device(),
    }


def _read(model: Model, engine: str) -> Tuning | None:
    """The tuning in the cache; None where there is none that is whole and holds for this model and device."""
    kept = read_cached(KIND, _identity(model, engine))
    if kept is None:
        return None
    place, content = kept
    try:
        candidates = tuple(Candidate(Way(**one.pop("way")), **one) for one in content.pop("candidates"))
        way = Way(**content.pop("way"))
        tuning = Tuning(**content, way=way, candidates=candidates, kept_in=place, measured=False)
    except (TypeError, KeyError, AttributeError):
        return None
    known = way in _ways(engine) and way in [one.way for one in candidates]
    return tuning if known else None


def _keep(model: Model, tuning: Tuning) -> Tuning:
    """Write a tuning to the cache, if it can be written."""
    content = dataclasses.asdict(tuning)
    for mine in ("kept_in", "measured"):
        del content[mine]
    return dataclasses.replace(tuning, kept_in=write_cached(KIND, _identity(model, tuning.engine), content))
