"""Several plans side by side, by model, engine, stride, threads and resolution: which are worth it, which never are."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crackedge.benchmarks.footage import FootageStore
from crackedge.benchmarks.latency import SCHEMA, bench
from crackedge.benchmarks.table import Figure, aligned
from crackedge.edge_runtime.errors import ModelError, OptionError
from crackedge.edge_runtime.models.model import Model

_LEAST_OF_A_CLASS = 20

RANKED_BY = ("frame", "file", "stream", "tile", "cold")  # the first of these that was measured


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to scan.

    Attributes:
        model: an opened model.
        engine: ``"auto"``, ``"tiles"`` or ``"dense"``.
        stride: distance between windows in pixels; None takes the engine's default.
        threads: of the interpreter; None takes its default.
        size: of the frames in pixels, width and height; None takes the footage's own.
    """

    model: Model
    engine: str = "auto"
    stride: int | None = None
    threads: int | None = None
    size: tuple[int, int] | None = None

    def __str__(self) -> str:
        """As in a table's row."""
        words = [self.model.name, self.engine]
        words += [f"stride {self.stride}"] if self.stride is not None else []
        words += [f"{self.threads} thread{'s' * (self.threads > 1)}"] if self.threads is not None else []
        words += [f"{self.size[0]}x{self.size[1]}"] if self.size is not None else []
        return ", ".join(words)


def plans_of(
    models: Sequence[Model],
    *,
    engines: Sequence[str] = ("auto",),
    strides: Sequence[int | None] = (None,),
    threads: Sequence[int | None] = (None,),
    sizes: Sequence[tuple[int, int] | None] = (None,),
) -> list[Plan]:
    """Every combination."""
    return [Plan(*values) for values in itertools.product(models, engines, strides, threads, sizes)]


def sweep(
    plans: Sequence[Plan],
    store: FootageStore,
    *,
    progress: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> dict[str, Any]:
    """Measure plans one after the other; ready to be written as JSON.

    Args:
        plans: what to measure.
        store: where the footage comes from.
        progress: is told what is being done.
        options: ``scenarios``, ``duration_s`` and so on, for :func:`crackedge.benchmarks.latency.bench`.

    Returns:
        ``plans``: what :func:`bench` gives of each; where a plan cannot be, ``failed`` says why. ``front``: numbers of
        those plans that no other one beats in both speed and AUC.

    Raises:
        OptionError, ModelError: the first plan's, when none can be measured.
    """
    measured: list[dict[str, Any]] = []
    failures: list[OptionError | ModelError] = []
    for number, plan in enumerate(plans, 1):

        def told(text: str, *, before: str = f"plan {number} of {len(plans)}, {plan}") -> None:
            progress(f"{before}: {text}")

        try:
            found = bench(
                plan.model,
                store,
                engine=plan.engine,
                stride=plan.stride,
                threads=plan.threads,
                size=plan.size,
                progress=told,
                **options,
            )
            measured.append({"name": str(plan), "failed": None, **found})
        except (OptionError, ModelError) as error:  # such as a classifier in one pass
            failures.append(error)
            measured.append({"name": str(plan), "failed": str(error)})
    if len(failures) == len(plans):
        raise failures[0]
    return {"schema": SCHEMA, "kind": "sweep", "plans": measured, "front": front(measured)}


def front(measured: Sequence[Mapping[str, Any]]) -> list[int]:
    """Numbers of the plans that no other one beats in both speed and AUC (Pareto), the fastest first."""
    known = [
        (ranked_ms(one)["p50"]["value"], -quality[1], number)
        for number, one in enumerate(measured)
        if one["failed"] is None and (quality := worst_auc(one)) is not None
    ]
    kept: list[int] = []
    best = float("inf")
    for _, negative_auc, number in sorted(known):
        if negative_auc < best:
            best = negative_auc
            kept.append(number)
    return kept


def ranked_by(measured: Mapping[str, Any]) -> str:
    """The scenario by which a plan is ranked."""
    scenarios: Mapping[str, Any] = measured["scenarios"]
    return next(name for name in (*RANKED_BY, *scenarios) if name in scenarios)


def ranked_ms(measured: Mapping[str, Any]) -> dict[str, Any]:
    """The figures by which a plan is ranked."""
    found: dict[str, Any] = measured["scenarios"][ranked_by(measured)]["ms"]
    return found


def worst_auc(measured: Mapping[str, Any]) -> tuple[str, float] | None:
    """The set on which the model's AUC is worst, and the AUC; sets are not pooled. None where there is none.

    Sets with fewer than 20 items of a class are left out: their AUC is chance.
    """
    known = {
        name: one["auc"]
        for name, one in measured["accuracy"]["sets"].items()
        if one["auc"] is not None and min(one["n_crack"], one["n_no_crack"]) >= _LEAST_OF_A_CLASS
    }
    return min(known.items(), key=lambda item: item[1]) if known else None


def warnings_of(found: Mapping[str, Any]) -> list[str]:
    """The warnings of all plans, each kind once: plans differ in its figures."""
    lines = [line for one in found["plans"] for line in one.get("warnings", ())]
    return list({re.sub(r"[\d.]+|\(.*|:.*", "", line): line for line in reversed(lines)}.values())[::-1]


def format_sweep(found: Mapping[str, Any]) -> str:
    """All plans as a table for the terminal, those of the front marked."""
    rows: list[list[Figure]] = []
    notes = []
    for number, one in enumerate(found["plans"]):
        if one["failed"] is not None:
            notes.append(f"{one['name']}: not measured, {one['failed']}")
            continue
        figures, quality = ranked_ms(one), worst_auc(one)
        low, high = figures["p50"]["low"], figures["p50"]["high"]
        rows.append(
            [
                f"{number + 1}{'*' if number in found['front'] else ' '}",
                one["model"]["name"],
                one["plan"]["engine"],
                one["plan"]["stride"],
                one["plan"]["threads"],
                f"{one['input']['width']}x{one['input']['height']}",
                figures["p50"]["value"],
                "-" if low is None or high is None else f"{low:.1f}-{high:.1f}",
                figures["p90"]["value"],
                f"{quality[1]:.3f} ({quality[0]})" if quality else None,
            ]
        )
    some = next(one for one in found["plans"] if one["failed"] is None)
    by = ranked_by(some)
    header = ["", "model", "engine", "stride", "threads", "frame", f"{by} p50 ms", "95 %", "p90 ms", "AUC, worst set"]
    whose = "measured here" if some["accuracy"]["measured_here"] else "by the models' cards, not measured here"
    notes.append(f"* no other plan is both faster and better; AUC {whose}")
    if len({(row[3], row[5]) for row in rows}) > 1:
        notes.append("AUC is of single windows: what a wider stride or a smaller frame misses, it does not tell")
    return "\n".join([aligned(header, rows, digits=2), *notes])
