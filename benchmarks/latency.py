"""How fast a model is on this machine: every scenario in several processes, and beside it all that the figures hang on.

Raw samples are kept, process by process, and every figure is derived from them: percentiles with their intervals and
the bound on p90 (:mod:`crackedge.benchmarks.intervals`), what was going on meanwhile
(:mod:`crackedge.benchmarks.steadiness`), memory and energy.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from crackedge.benchmarks import steadiness
from crackedge.benchmarks.cold import start_to_first_result
from crackedge.benchmarks.data_sets import LabelledSet
from crackedge.benchmarks.evaluation import evaluate
from crackedge.benchmarks.footage import FootageStore
from crackedge.benchmarks.intervals import early_stopping, percentile, spread
from crackedge.benchmarks.machine import NOT_MEASURED, describe_machine, describe_state, warnings
from crackedge.benchmarks.restarts import Setup, cardless_words, measure_in_child
from crackedge.benchmarks.sampling import check_positive
from crackedge.benchmarks.scenarios import SCENARIOS, check_scenarios
from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.models.model import Model
from crackedge.edge_runtime.scan.engine import engine_name

SCHEMA = 2
RESTARTS = 3
DURATION_S = 4.0

_LEAST_STARTS = 5  # of `cold`
_ACCURACY = ("n_crack", "n_no_crack", "accuracy", "recall", "false_positive_rate", "auc")


def bench(
    model: Model,
    store: FootageStore,
    *,
    scenarios: Sequence[str] = tuple(SCENARIOS),
    duration_s: float = DURATION_S,
    restarts: int = RESTARTS,
    size: tuple[int, int] | None = None,
    fps: float = 30.0,
    engine: str = "auto",
    stride: int | None = None,
    threads: int | None = None,
    sets: Iterable[LabelledSet] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure a model on this machine; ready to be written as JSON.

    Args:
        model: an opened model.
        store: where the footage comes from.
        scenarios: which of :data:`SCENARIOS`.
        duration_s: for each, without its warm-up, all processes together; a few samples at least.
        restarts: how many processes measure.
        size: of the frames in pixels, width and height; None takes the footage's own.
        fps: of the stream's camera.
        engine: ``"auto"``, ``"tiles"`` or ``"dense"``, for all scenarios but tile.
        stride: distance between windows in pixels, for all scenarios but tile; None takes the engine's default.
        threads: of the interpreter; None takes its default.
        sets: labelled sets to measure the accuracy on, here and now; without them the card's figures stand in.
        progress: is told what is being done.

    Raises:
        OptionError: an option has a value that cannot be used.
        ModelError: the model does not run.
        OutputError: there is no room for temporary files.
        CrackedgeError: the footage cannot be had; see :func:`crackedge.benchmarks.footage.make_footage`.
    """
    check_scenarios(scenarios)
    check_positive("duration", duration_s, "s")
    check_positive("fps", fps, "frames a second")
    if restarts < 1:
        raise OptionError(f"restarts {restarts}: expected at least 1")
    engine_name(model, engine)
    machine = describe_machine()  # before the work of rendering: its load is part of what is said
    progress("preparing the pictures")
    footage, frames = store.take(size)
    setup = Setup(
        model=str(model.path),
        frames=frames,
        clip=str(footage.clip),
        source=footage.source,
        scenarios=tuple(name for name in scenarios if name != "cold") or ("null",),
        duration_s=duration_s / restarts,
        fps=fps,
        engine=engine,
        stride=stride,
        threads=threads,
        **cardless_words(model),
    )
    measured: dict[str, list[dict[str, Any]]] = {}
    plan, network_mib = {}, []
    for number in range(restarts):
        progress(f"{', '.join(setup.scenarios)}: process {number + 1} of {restarts}")
        found = measure_in_child(setup, store.folder)
        plan = found["plan"]
        network_mib.append(found["network_mib"])
        for name, raw in found["scenarios"].items():
            measured.setdefault(name, []).append(raw)
    starts = max(restarts, _LEAST_STARTS) if "cold" in scenarios else 0
    for number in range(starts):
        progress(f"cold: start {number + 1} of {starts}")
        measured.setdefault("cold", []).append(_start(setup, store))
    after = describe_state()
    entries = {name: _entry(name, measured[name]) for name in scenarios}
    steady = {name: one["steadiness"] for name, one in entries.items() if name != "null"}
    return {
        "schema": SCHEMA,
        "kind": "bench",
        "started_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine,
        "machine_after": after,
        "model": model.identity,
        "plan": plan,
        "input": footage.describe(),
        "restarts": restarts,
        "memory": {"network_mib": network_mib, "arena_mib": NOT_MEASURED},
        "scenarios": entries,
        "accuracy": accuracy(model, sets, engine=plan["engine"], threads=plan["threads"], progress=progress),
        "warnings": [*warnings(machine, after), *steadiness.doubts(steady)],
    }


def accuracy(
    model: Model,
    sets: Iterable[LabelledSet],
    *,
    engine: str,
    threads: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """How right the model is, set by set: measured here, or by its card; ready to be written as JSON.

    Args:
        model: an opened model.
        sets: labelled sets; without them the card's figures are given.
        engine: ``"tiles"`` or ``"dense"``.
        threads: of the interpreter.
        progress: is told where it is.

    Raises:
        DataError: a set is unfit.
        ModelError: the model does not run.
    """
    sets = list(sets)
    if not sets:
        by_card = model.card.metrics.get(engine, {})
        return {"measured_here": False, "sets": {name: _accuracy_of(one) for name, one in by_card.items()}}
    found = evaluate(
        model,
        sets,
        engine=engine,
        threads=threads,
        progress=lambda name, done, total: progress(f"accuracy on {name}: {done}/{total}"),
    )
    return {
        "measured_here": True,
        "sets": {name: _accuracy_of(one["metrics"]) for name, one in found["sets"].items()},
    }


def _accuracy_of(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {key: metrics.get(key) for key in _ACCURACY}


def _start(setup: Setup, store: FootageStore) -> dict[str, Any]:
    """One start of a process, as the scenarios' raw figures are."""
    before = steadiness.processor_times()
    stages = start_to_first_result(setup, store.folder)
    total_ms = stages.pop("total")
    return {
        "warmup": {"calls": 0, "first_ms": total_ms},
        "samples_ms": [total_ms],
        "stage_samples_ms": {name: [ms] for name, ms in stages.items()},
        "disturbance": steadiness.disturbance(before, steadiness.processor_times()),
        "peak_memory_mib": NOT_MEASURED,
        "energy": {"source": NOT_MEASURED, "joules_per_call": NOT_MEASURED},
    }


def _entry(scenario: str, processes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A scenario's figures, from what each process measured."""
    samples = [one["samples_ms"] for one in processes]
    stages = {name: [one["stage_samples_ms"][name] for one in processes] for name in processes[0]["stage_samples_ms"]}
    pooled = {name: [ms for values in each for ms in values] for name, each in stages.items()}
    return {
        "what": SCENARIOS[scenario],
        "warmup": [one["warmup"] for one in processes],
        "ms": spread(samples),
        "p90_bound": asdict(early_stopping([ms for values in samples for ms in values])),
        "stages_ms": {
            name: {f"p{percent}": percentile(values, percent) for percent in (50, 90)}
            for name, values in pooled.items()
        },
        **_details(processes),
        "peak_memory_mib": _known([one["peak_memory_mib"] for one in processes], max),
        "energy": {
            "source": processes[0]["energy"]["source"],
            "joules_per_call": _known([one["energy"]["joules_per_call"] for one in processes], _mean),
        },
        "steadiness": steadiness.steadiness(samples, [one["disturbance"] for one in processes]),
        "samples_ms": samples,
        "stage_samples_ms": stages,
    }


def _details(processes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Figures that only some scenarios have: counts are added up, rates averaged."""
    found: dict[str, Any] = {}
    for key, reduce in (
        ("fps", max),
        ("captured", sum),
        ("dropped", sum),
        ("late", sum),
        ("results_per_s", _mean),
        ("frames_per_s", _mean),
    ):
        if key in processes[0]:
            found[key] = reduce([one[key] for one in processes])
    return found


def _known(figures: Sequence[Any], reduce: Callable[[Sequence[Any]], Any]) -> Any:
    """Of the figures that were measured, if any was."""
    known = [figure for figure in figures if figure != NOT_MEASURED]
    return reduce(known) if known else NOT_MEASURED


def _mean(figures: Sequence[float]) -> float:
    return sum(figures) / len(figures)
