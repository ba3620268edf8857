"""Will it keep so many frames a second on this board, or on one that is not at hand?

Here, plans are measured as a camera at that very pace would use them. For other boards there is only an estimate: how
long networks of published times take there for a multiplication, from the quickest to the slowest, times the
multiplications of the plan. It is about the network alone, and a range; nothing but a measurement can narrow it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crackedge.benchmarks.operations import read_graph
from crackedge.benchmarks.sweep import Plan, worst_auc
from crackedge.benchmarks.table import Figure, aligned
from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.errors import DataError, OptionError
from crackedge.edge_runtime.scan.engine import engine_name
from crackedge.edge_runtime.scan.tiles_engine import TILES_STRIDE

BOARDS = Path(__file__).parent / "reference" / "boards.json"
LEAST_FRAMES = 70  # for a bound on p90, with some to spare

_ALONE = 2.0


@dataclass(frozen=True, slots=True)
class Published:
    """A published time of one 224x224 picture on a board.

    Attributes:
        network: which.
        gmacs: its multiplications, in 10^9.
        ms: how long it takes.
        threads: of the processor.
        source: where that is published.
    """

    network: str
    gmacs: float
    ms: float
    threads: int
    source: str


def advise(plans: Sequence[Mapping[str, Any]], *, target_fps: float) -> list[dict[str, Any]]:
    """Which measured plans keep a pace; ready to be written as JSON.

    Args:
        plans: of a sweep over the scenario stream, its camera at ``target_fps``.
        target_fps: frames a second.

    Returns:
        For each plan that could be measured: its ``name``, ``verdict`` and ``margin``. *keeps*: of ten results nine are
        there before the next frame is captured, by the early-stopping bound. *hardly*: half of them are. *unknown*:
        too few frames for the bound. The margin is the time that there is, to the time that nine of ten need.
    """
    period_ms = 1e3 / target_fps
    advice = []
    for one in plans:
        if one["failed"] is not None:
            continue
        stream = one["scenarios"]["stream"]
        bound_ms, median_ms = stream["p90_bound"]["bound"], stream["ms"]["p50"]["value"]
        if bound_ms is None:
            verdict = "no" if median_ms > period_ms else "unknown"
        else:
            verdict = "keeps" if bound_ms <= period_ms else "hardly" if median_ms <= period_ms else "no"
        quality = worst_auc(one)
        advice.append(
            {
                "name": one["name"],
                "plan": one["plan"],
                "p50_ms": median_ms,
                "p90_bound_ms": bound_ms,
                "dropped": stream["dropped"],
                "captured": stream["captured"],
                "verdict": verdict,
                "margin": None if bound_ms is None else period_ms / bound_ms,
                "worst_auc": None if quality is None else quality[1],
            }
        )
    return advice


def format_advice(advice: Sequence[Mapping[str, Any]], *, target_fps: float) -> str:
    """What :func:`advise` found, as a table for the terminal, the roomiest first."""
    order = ("keeps", "hardly", "unknown", "no")
    ranked = sorted(advice, key=lambda one: (order.index(one["verdict"]), -(one["margin"] or 0)))
    rows: list[list[Figure]] = [
        [
            one["verdict"],
            one["name"],
            None if one["margin"] is None else f"{one['margin']:.1f}x",
            one["p90_bound_ms"],
            f"{one['dropped']} of {one['captured']}",
            one["worst_auc"],
        ]
        for one in ranked
    ]
    keeping = [one for one in ranked if one["verdict"] == "keeps"]
    best = max(keeping, key=lambda one: one["worst_auc"] or 0) if keeping else None
    header = [f"{target_fps:g} fps", "plan", "margin", "p90 at most ms", "dropped", "AUC, worst set"]
    return "\n".join(
        [
            aligned(header, rows, digits=2),
            f"measured here, a camera at {target_fps:g} frames a second, {1e3 / target_fps:.1f} ms from frame to frame",
            f"best of those that keep it: {best['name']}" if best else "no plan keeps it; try a smaller --size",
        ]
    )


def read_board(name_or_path: str) -> list[Published]:
    """Published figures of a board, by its name in ``reference/boards.json``, or from a file of one's own.

    Raises:
        OptionError: there is no board of this name.
        DataError: the file cannot be read or used.
    """
    path = Path(name_or_path)
    own = path.suffix == ".json" or path.exists()
    try:
        found = json.loads((path if own else BOARDS).read_text(encoding="utf-8"))
        boards = {name: [Published(**one) for one in figures] for name, figures in found["boards"].items()}
        if not all(one.gmacs > 0 and one.ms > 0 for figures in boards.values() for one in figures):
            raise ValueError("gmacs and ms must be more than 0")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise DataError(f"{name_or_path}: no figures of a board ({why}); see {BOARDS.name} for the form") from error
    if own:
        return [one for figures in boards.values() for one in figures]
    if name_or_path not in boards:
        raise OptionError(f"board {name_or_path!r}: expected one of {', '.join(boards)}, or a JSON file of your own")
    return boards[name_or_path]


def frame_gmacs(plan: Plan, *, default_size: tuple[int, int]) -> float:
    """Multiplications of a plan for one frame, in 10^9.

    Args:
        plan: in one pass a padded frame counts, tile by tile all its windows.
        default_size: width and height, where the plan has none.
    """
    width, height = plan.size or default_size
    tile_macs = read_graph(plan.model.flatbuffer, (1, lattice.TILE, lattice.TILE, 3), threads=1)[0]["macs"]
    rows, cols = (side // lattice.CELL for side in lattice.padded_hw(height, width))
    if engine_name(plan.model, plan.engine) == "dense":
        tiles = rows * cols / lattice.WINDOW_CELLS**2
    else:
        step = lattice.stride_cells(plan.stride or TILES_STRIDE)
        tiles = float(math.prod(len(lattice.window_starts(cells, step)) for cells in (rows, cols)))
    return float(tile_macs) * tiles / 1e9


def estimate_ms(gmacs: float, published: Sequence[Published]) -> tuple[float, float]:
    """The range of a network's time on a board: from its quickest published multiplication to its slowest.

    One figure alone says nothing of its own spread; then it is half to twice.
    """
    rates = [one.ms / one.gmacs for one in published]
    wider = _ALONE if len(rates) == 1 else 1.0
    return gmacs * min(rates) / wider, gmacs * max(rates) * wider


def estimate_plans(
    plans: Sequence[Plan], published: Sequence[Published], *, target_fps: float, default_size: tuple[int, int]
) -> list[dict[str, Any]]:
    """Which plans may keep a pace on a board that is not at hand; ready to be written as JSON.

    Raises:
        OptionError: a plan cannot be.
    """
    found = []
    for plan in plans:
        gmacs = frame_gmacs(plan, default_size=default_size)
        low_ms, high_ms = estimate_ms(gmacs, published)
        period_ms = 1e3 / target_fps
        verdict = "likely" if high_ms <= period_ms else "unlikely" if low_ms > period_ms else "perhaps"
        found.append(
            {
                "name": str(plan),
                "estimated": True,
                "gmacs": gmacs,
                "low_ms": low_ms,
                "high_ms": high_ms,
                "verdict": verdict,
            }
        )
    return found


def format_estimates(
    found: Sequence[Mapping[str, Any]], published: Sequence[Published], *, board: str, target_fps: float
) -> str:
    """What :func:`estimate_plans` found, as a table for the terminal."""
    rows: list[list[Figure]] = [
        [one["verdict"], one["name"], f"{one['low_ms']:.0f} to {one['high_ms']:.0f}"] for one in found
    ]
    sources = "; ".join(dict.fromkeys(one.source for one in published))
    return "\n".join(
        [
            f"ESTIMATE, not measured: {board} at {target_fps:g} frames a second ({1e3 / target_fps:.1f} ms each)",
            aligned(["", "plan", "network alone, ms"], rows),
            f"from {len(published)} published times, the quickest to the slowest multiplication: {sources}. Decoding, "
            "marking and encoding come on top. Measure with `crackedge bench --target-fps` on the board itself.",
        ]
    )
