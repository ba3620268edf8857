"""A measurement as text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crackedge.benchmarks.machine import NOT_MEASURED, format_machine, warnings
from crackedge.benchmarks.table import Figure, aligned


def format_bench(result: Mapping[str, Any]) -> str:
    """A measurement as tables and lines for the terminal."""
    blocks = [
        title(result),
        format_machine(result["machine"], result["machine_after"]),
        aligned(*figures_table(result)),
        *notes(result),
    ]
    known = set(warnings(result["machine"], result["machine_after"]))
    return "\n".join([*blocks, *(f"warning: {line}" for line in result["warnings"] if line not in known)])


def title(result: Mapping[str, Any]) -> str:
    """What was measured, in one line."""
    model, plan, given = result["model"], result["plan"], result["input"]
    return (
        f"{model['name']} ({model['quantization']}, sha256 {model['sha256'][:12]}), {plan['engine']} at stride "
        f"{plan['stride']} px, {_count(plan['threads'], 'thread')}, {plan['runtime']}, {given['source']} "
        f"{given['width']}x{given['height']}, {_count(result['restarts'], 'process', 'es')}"
    )


def figures_table(result: Mapping[str, Any]) -> tuple[list[str], list[list[Figure]]]:
    """Header and rows: percentiles with their intervals, in milliseconds."""
    header = ["ms", "n", "p50", "95 %", "p90", "95 %", "p90 at most*", "p99", "max"]
    rows: list[list[Figure]] = []
    for name, one in result["scenarios"].items():
        ms, bound = one["ms"], one["p90_bound"]["bound"]
        rows.append(
            [
                name,
                ms["n"],
                *(text for key in ("p50", "p90") for text in (milliseconds(ms[key]["value"]), interval(ms[key]))),
                "too few" if bound is None else milliseconds(bound),
                milliseconds(ms["p99"]["value"]),
                milliseconds(ms["max"]),
            ]
        )
    return header, rows


def notes(result: Mapping[str, Any]) -> list[str]:
    """What belongs beside the figures, one line each."""
    scenarios = result["scenarios"]
    some = next(iter(scenarios.values()))["p90_bound"]
    lines = [
        f"* with {some['confidence']:.0%} confidence (MLPerf early stopping; needs {some['least_samples']} samples)"
    ]
    for name, one in scenarios.items():
        if one["stages_ms"] and name != "null":
            parts = ", ".join(f"{stage} {milliseconds(figures['p50'])}" for stage, figures in one["stages_ms"].items())
            lines.append(f"{name} by stage, median ms: {parts}")
    if stream := scenarios.get("stream"):
        lines.append(
            f"stream: camera at {stream['fps']:g} frames/s, {stream['captured']} captured, "
            f"{stream['dropped']} dropped, {stream['late']} later than {1e3 / stream['fps']:.0f} ms, "
            f"{stream['results_per_s']:.1f} results/s"
        )
    if file := scenarios.get("file"):
        lines.append(f"file: {file['frames_per_s']:.1f} frames/s, decoded, scanned, marked and encoded")
    if (null := scenarios.get("null")) and (tile := scenarios.get("tile")):
        share = null["ms"]["p50"]["value"] / tile["ms"]["p50"]["value"]
        lines.append(f"null: what the harness adds to a call, {share:.2%} of a tile")
    return [*lines, memory_and_energy(result), accuracy_line(result["accuracy"])]


def memory_and_energy(result: Mapping[str, Any]) -> str:
    """Memory and energy, in one line."""
    peaks = {name: one["peak_memory_mib"] for name, one in result["scenarios"].items() if name in ("frame", "file")}
    known = [f"{name} {peak} MiB" for name, peak in peaks.items() if peak != NOT_MEASURED]
    network = [mib for mib in result["memory"]["network_mib"] if mib != NOT_MEASURED]
    grown = f"model with its arena {max(network)} MiB" if network else f"model {NOT_MEASURED}"
    joules = {name: one["energy"]["joules_per_call"] for name, one in result["scenarios"].items() if name != "null"}
    used = [f"{name} {figure:.3f} J" for name, figure in joules.items() if figure != NOT_MEASURED]
    told = [source for one in result["scenarios"].values() if (source := one["energy"]["source"]) != NOT_MEASURED]
    energy = (", ".join(used) or NOT_MEASURED) + (f" ({told[0]})" if told else "")
    return f"memory, peak: {', '.join(known) or NOT_MEASURED}, {grown}; energy: {energy}"


def accuracy_line(accuracy: Mapping[str, Any]) -> str:
    """How right the model is, set by set, in one line."""
    sets = [f"{name} {_quality(one)}" for name, one in accuracy["sets"].items()]
    whose = "measured here" if accuracy["measured_here"] else "by its card, not measured here (give --data)"
    return f"accuracy, {whose}: {', '.join(sets) or NOT_MEASURED}"


def milliseconds(value: float) -> str:
    """With so many digits as mean something: ``0.0004``, ``0.71``, ``29.7``, ``165``."""
    return f"{value:.{4 if value < 0.1 else 2 if value < 10 else 1 if value < 100 else 0}f}"


def interval(figure: Mapping[str, Any]) -> str:
    """``0.70-0.75``, with a question mark for an end that too few samples leave open."""
    return "-".join("?" if end is None else milliseconds(end) for end in (figure["low"], figure["high"]))


def _quality(one: Mapping[str, Any]) -> str:
    if one["auc"] is not None:
        return f"AUC {one['auc']:.3f}"
    if one["recall"] is not None:
        return f"recall {one['recall']:.3f}"
    return "false positives " + ("-" if one["false_positive_rate"] is None else f"{one['false_positive_rate']:.3f}")


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{'' if number == 1 else plural}"
