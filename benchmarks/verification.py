"""The proof of a model file, made again on this device: what it was exported to compute is what it computes here.

Every load of a model checks its sha256 and its golden vectors on one thread. This goes further: on all threads, on a
whole frame, with both engines, and, where labelled photographs are at hand, with their figures beside the card's.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crackedge.benchmarks.data_sets import LabelledSet
from crackedge.benchmarks.evaluation import Progress, evaluate
from crackedge.benchmarks.footage import scene_frames
from crackedge.benchmarks.machine import describe_machine, format_machine
from crackedge.benchmarks.operations import FRAME_HW
from crackedge.benchmarks.table import aligned
from crackedge.edge_runtime.errors import ModelError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.lattice import CELL, TILE
from crackedge.edge_runtime.models import golden
from crackedge.edge_runtime.models.card import MEMBER, ModelCard, split_card
from crackedge.edge_runtime.models.card import SCHEMA as CARD_SCHEMA
from crackedge.edge_runtime.models.interpreter import Interpreter, check_threads
from crackedge.edge_runtime.models.model import Model, open_model, read_model
from crackedge.edge_runtime.scan.dense_engine import DenseEngine
from crackedge.edge_runtime.scan.scoremap import ScoreMap
from crackedge.edge_runtime.scan.tiles_engine import TilesEngine

SCHEMA = 1
SAME_WINDOWS = 0.01  # what a figure may differ by where the card has it from as many windows
STANDARD_ERRORS = 3.0  # what else it may differ by where the card has it from other windows
INSIDE_CORRELATION = 0.95

_HALO = 8  # cells, beyond which a convolutional network sees nothing
_CUT = (slice(4, 28), slice(16, 48))  # cells of the frame
_BATCH = (slice(0, 480), slice(0, 480))  # px of the frame: nine tiles, in two batches


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was proven, or not.

    Attributes:
        name: what was looked at.
        passed: whether it is as it should be.
        found: what was found, and what is allowed, in one line.
    """

    name: str
    passed: bool
    found: str


def verify(
    name_or_path: str | Path,
    *,
    sets: Sequence[LabelledSet] = (),
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Prove a model file again on this device; ready to be written as JSON.

    ``passed`` says how it ended, and ``checks`` has each :class:`Check`; after a failed one nothing is built on it.

    Args:
        name_or_path: a shipped model, or a ``.tflite`` file with a card.
        sets: labelled sets, whose accuracy and AUC are held against the card's.
        threads: of the interpreter, besides 1; None takes its default.
        progress: is told after each picture of the sets.

    Raises:
        ModelError: there is no such file, or it cannot be read, or it has no card and cannot be run either.
        DataError: a set cannot be used.
        OptionError: fewer than one thread.
    """
    counts = sorted({1, check_threads(threads)})
    path, data = read_model(name_or_path)
    if MEMBER.encode() not in data:  # there is no card by which to tell that it is damaged, or no model at all
        Interpreter(data, threads=1, origin=str(path))
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "model": {"file": str(path), "sha256": hashlib.sha256(data).hexdigest()},
        "threads": counts,
        "machine": describe_machine(),
    }
    checks: list[Check] = []
    try:
        flatbuffer, card = split_card(data, origin=str(path))
        if card is None:
            raise ModelError(f"{path}: no model card, so nothing is proven; give a file that `crackedge export` made")
        networks = [Interpreter(flatbuffer, threads=count, origin=str(path)) for count in counts]
        result["model"] |= {"name": card.name, "version": card.version, "quantization": card.quantization}
        result["runtime"] = networks[0].runtime
        checks += [
            Check("file", True, f"sha256 of the network {card.sha256[:12]}, as its card says"),
            Check("card", True, f"schema {card.schema}, this crackedge reads up to {CARD_SCHEMA}"),
        ]
        checks += _golden(card, networks, origin=str(path))
        if all(check.passed for check in checks):
            model = open_model(path)
            if card.head == "logit-map":
                checks += _frame(model, counts, output_step=networks[0].output_step)
            if sets:
                result["data"] = _beside_card(model, sets, threads=counts[-1], progress=progress)
                checks += [_figures(name, one) for name, one in result["data"]["sets"].items()]
    except ModelError as error:  # the very thing that is asked here
        checks.append(Check("model", False, str(error).removeprefix(f"{path}: ")))
    return {**result, "passed": all(check.passed for check in checks), "checks": [asdict(check) for check in checks]}


def format_verification(result: Mapping[str, Any]) -> str:
    """A verification as a table for the terminal."""
    model = result["model"]
    named = f"{model['name']} {model['version']} ({model['quantization']}), " if "name" in model else ""
    rows = [[one["name"], "ok" if one["passed"] else "FAILED", one["found"]] for one in result["checks"]]
    return "\n".join(
        [
            f"{model['file']}: {named}sha256 {model['sha256'][:12]}, {result.get('runtime', 'not run')}",
            format_machine(result["machine"]),
            aligned(["check", "", "found"], rows),
        ]
    )


def _golden(card: ModelCard, networks: Sequence[Interpreter], *, origin: str) -> list[Check]:
    if not card.golden:
        return [Check("golden", False, "its card has no golden vectors; export the model again")]
    checks = []
    for network in networks:
        for one in golden.compare(card, network, origin=origin):
            found = (
                f"off by {one.largest:.2g} {one.unit}, {one.mean:.2g} on average "
                f"(allowed {one.largest_allowed:g}, {one.mean_allowed:g}), recorded with {one.kernels}"
                if one.within
                else golden.failure(one, network)
            )
            checks.append(Check(f"golden {one.width}x{one.height}, {_threads(network.threads)}", one.within, found))
    return checks


def _frame(model: Model, counts: Sequence[int], *, output_step: float) -> list[Check]:
    """Whether a logit map computes the same on a frame: on all threads, in a cut of it, and tile by tile.

    Two ways to compute the same may differ by the golden vectors' limit, in logits.
    """
    frame = scene_frames(width=FRAME_HW[1], height=FRAME_HW[0], count=1)[0]
    engines = [DenseEngine(model, threads=count) for count in counts]
    maps = [engine(frame) for engine in engines]
    dense, whole = engines[-1], maps[-1]
    allowed = model.card.golden["tolerance"]["max"] * (output_step or max(1.0, float(np.abs(whole.cell_logits).max())))
    rows, cols = whole.cell_logits.shape
    off = float(max(np.abs(one.cell_logits - maps[0].cell_logits).max() for one in maps))
    size = f"{FRAME_HW[1]}x{FRAME_HW[0]}"
    checks = [
        Check(
            f"frame {size}",
            off <= allowed,
            f"{rows}x{cols} cells; {' and '.join(map(_threads, counts))} differ by {off:.2g} logits "
            f"(allowed {allowed:.2g})",
        )
    ]
    cut = frame[tuple(slice(cells.start * CELL, cells.stop * CELL) for cells in _CUT)]
    inner = (slice(_HALO, -_HALO), slice(_HALO, -_HALO))
    alone = dense(cut).cell_logits[inner]
    inside = whole.cell_logits[_CUT][inner]
    off, same = float(np.abs(alone - inside).max()), _correlation(alone, inside)
    checks.append(
        Check(
            "cut of the frame",
            off <= allowed or same >= INSIDE_CORRELATION,
            f"its inner {alone.shape[0]}x{alone.shape[1]} cells differ from the frame's by {off:.2g} logits "
            f"(allowed {allowed:.2g}, or a correlation of {INSIDE_CORRELATION}), correlation {same:.4f}",
        )
    )
    tiles = TilesEngine(model, threads=counts[-1])
    batch = tiles(frame[_BATCH])
    one_by_one = _one_by_one(frame[_BATCH], batch, dense)
    off = float(np.abs(batch.window_logits - one_by_one).max())
    by_tiles = tiles(frame)
    shared = np.ix_(by_tiles.ys // CELL, by_tiles.xs // CELL)
    same = _correlation(whole.window_logits[shared], by_tiles.window_logits)
    thresholds = [model.card.operating_point(engine).window_threshold for engine in ("dense", "tiles")]
    equal = (whole.window_scores[shared] >= thresholds[0]) == (by_tiles.window_scores >= thresholds[1])
    checks.append(
        Check(
            "tiles and dense",
            off <= allowed,
            f"{batch.window_logits.size} tiles differ by {off:.2g} logits from each in a pass of its own "
            f"(allowed {allowed:.2g}); of the frame's {equal.size} tiles and windows in one pass "
            f"{equal.mean():.1%} are decided alike, correlation {same:.4f}",
        )
    )
    return checks


def _beside_card(
    model: Model, sets: Sequence[LabelledSet], *, threads: int, progress: Progress | None
) -> dict[str, Any]:
    """Accuracy and AUC of each set, and the card's, and by how much they may differ."""
    measured = evaluate(model, sets, threads=threads, progress=progress)
    known = model.card.metrics.get(measured["engine"], {})
    compared = {}
    for name, one in measured["sets"].items():
        figures, claimed = one["metrics"], known.get(name)
        rows: dict[str, Any] = {}
        for key in ("accuracy", "auc") if claimed else ():
            if figures[key] is None or claimed.get(key) is None:
                continue
            allowed = _may_differ(figures, claimed, key)
            rows[key] = {
                "found": figures[key],
                "card": claimed[key],
                "allowed": allowed,
                "within": abs(figures[key] - claimed[key]) <= allowed,
            }
        compared[name] = {"n": one["n"], "n_card": claimed["n"] if claimed else None, "figures": rows}
    return {"engine": measured["engine"], "operating_point": measured["operating_point"], "sets": compared}


def _may_differ(found: Mapping[str, Any], claimed: Mapping[str, Any], key: str) -> float:
    """The card has a set's figures from one half of its photographs, where the other half set the thresholds."""
    same = all(found[count] == claimed[count] for count in ("n_crack", "n_no_crack"))
    if same:
        return SAME_WINDOWS
    counts = [one[count] for one in (found, claimed) for count in ("n_crack", "n_no_crack")]
    fewest = max(1, min(counts) if key == "auc" else min(sum(counts[:2]), sum(counts[2:])))
    share = (found[key] + claimed[key]) / 2
    return SAME_WINDOWS + STANDARD_ERRORS * math.sqrt(share * (1 - share) / fewest)


def _figures(name: str, one: Mapping[str, Any]) -> Check:
    if one["n_card"] is None:
        return Check(f"figures of {name}", True, f"{one['n']} windows; the card has no figures of this set")
    texts = [
        f"{key} {row['found']:.3f}, card {row['card']:.3f} (allowed ±{row['allowed']:.3f})"
        for key, row in one["figures"].items()
    ]
    within = all(row["within"] for row in one["figures"].values())
    windows = f"{one['n']} windows, card {one['n_card']}"
    return Check(f"figures of {name}", within, "; ".join([*texts, windows]))


def _one_by_one(image: Image, windows: ScoreMap, dense: DenseEngine) -> npt.NDArray[np.float32]:
    """(ny, nx) logits of the windows of a score map, each cut out and scanned as a frame of its own."""
    tiles = [[image[y : y + TILE, x : x + TILE] for x in windows.xs] for y in windows.ys]
    return np.array([[dense(tile).window_logits[0, 0] for tile in row] for row in tiles], np.float32)


def _correlation(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Of all entries; 1 where both are constant, 0 where one is."""
    spread = float(one.std()), float(other.std())
    if min(spread) == 0:
        return float(max(spread) == 0)
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"
