"""Whether a model became slower: a measurement against an earlier one, with the doubt that both of them have.

A ratio is formed between the medians of a scenario. Each median's error comes from its processes
(:func:`crackedge.benchmarks.intervals.standard_error`); the ratio's interval is Welch's, on logarithms. Several
scenarios are looked at, so each interval is widened until all of them hold together at the confidence (Bonferroni): a
machine's noise would otherwise be reported once in some ten comparisons.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from crackedge.benchmarks.intervals import CONFIDENCE, percentile, standard_error, student_t
from crackedge.benchmarks.table import Figure, aligned
from crackedge.edge_runtime.errors import DataError, OptionError, ProofError

_SAME: Mapping[str, Sequence[str]] = {
    "machine": ("fingerprint",),
    "model": ("sha256",),
    "plan": ("engine", "stride", "threads"),
    "input": ("width", "height", "source"),
}


def read_bench(path: Path, *, schema: int) -> dict[str, Any]:
    """An earlier measurement, as ``crackedge bench --json`` writes it.

    Raises:
        DataError: the file is missing, damaged, of another kind, or of another schema.
    """
    again = "give a file that `crackedge bench --json` wrote"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); {again}") from error
    except ValueError as error:
        raise DataError(f"{path}: damaged or no JSON ({error}); {again}") from error
    if not isinstance(found, dict) or found.get("kind") != "bench":
        kind = found.get("kind", "something else") if isinstance(found, dict) else "something else"
        raise DataError(f"{path}: {kind}, expected one measurement; {again}")
    if found.get("schema") != schema:
        raise DataError(f"{path}: schema {found.get('schema')}, expected {schema}; measure the baseline again")
    try:
        _check_shape(found)
    except (KeyError, TypeError, ValueError, AttributeError, OptionError) as error:
        raise DataError(f"{path}: damaged ({type(error).__name__}: {error}); {again}") from error
    return found


def check_comparable(base: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse measurements that differ in more than speed.

    Args:
        base: an earlier measurement.
        now: a measurement; its ``machine``, ``model``, ``plan`` and ``input`` are enough.

    Raises:
        OptionError: machine, model, plan or input are others.
    """
    for group, keys in _SAME.items():
        for key in keys:
            was, found = base[group][key], now[group][key]
            if was != found:
                raise OptionError(
                    f"the baseline has another {group} ({key} {was}, here {found}); --force compares them all the same"
                )


def check_judgeable(base: Mapping[str, Any], *, scenarios: Sequence[str], restarts: int) -> None:
    """Refuse what :func:`compare` could not judge: it must see how processes differ.

    Args:
        base: an earlier measurement.
        scenarios: that are to be measured.
        restarts: how many processes are to measure.

    Raises:
        OptionError: there is no scenario to compare, or a single process measured, or is to measure.
    """
    least = min([restarts, *(len(base["scenarios"][name]["samples_ms"]) for name in _shared(base, scenarios))])
    if least < 2:
        raise OptionError("a comparison needs 2 processes at least, in the baseline too; give --restarts 3 or more")


def compare(
    base: Mapping[str, Any], now: Mapping[str, Any], *, confidence: float = CONFIDENCE
) -> dict[str, dict[str, Any]]:
    """How many times as long a measurement takes as the baseline, by scenario; ready to be written as JSON.

    Args:
        base: an earlier measurement.
        now: a measurement.
        confidence: that all ``low`` are below, and all ``high`` above, the true ratios of the medians.

    Returns:
        For each scenario that both have, but null: ``base_ms``, ``ms``, ``ratio``, ``low`` and ``high``.

    Raises:
        OptionError: they have no scenario in common, or one has too few processes.
    """
    names = _shared(base, now["scenarios"])
    return {
        name: _ratio(
            base["scenarios"][name]["samples_ms"],
            now["scenarios"][name]["samples_ms"],
            confidence=1 - (1 - confidence) / len(names),
        )
        for name in names
    }


def check_regression(compared: Mapping[str, Mapping[str, Any]], *, fail_over: float) -> None:
    """Refuse what became slower, certainly by more than a limit.

    Args:
        compared: from :func:`compare`.
        fail_over: the limit, 0.1 for ten per cent.

    Raises:
        ProofError: the lower bound of a ratio exceeds the limit.
    """
    slower = [
        f"{name} takes {one['ratio']:.2f} times as long, at least {one['low']:.2f}"
        for name, one in compared.items()
        if one["low"] > 1 + fail_over
    ]
    if slower:
        raise ProofError(f"slower than the baseline: {'; '.join(slower)} (limit {1 + fail_over:.2f})")


def format_comparison(compared: Mapping[str, Mapping[str, Any]]) -> str:
    """A comparison as a table for the terminal."""
    rows: list[list[Figure]] = [
        [name, one["base_ms"], one["ms"], one["ratio"], f"{one['low']:.2f} to {one['high']:.2f}"]
        for name, one in compared.items()
    ]
    return aligned(["median ms", "baseline", "now", "ratio", "certainly"], rows, digits=2)


def parse_share(text: str) -> float:
    """A share from ``10%`` or ``0.1``.

    Raises:
        OptionError: it is neither, or negative.
    """
    try:
        share = float(text.rstrip("% ")) / (100 if text.rstrip().endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 <= share < math.inf:
        raise OptionError(f"limit {text!r}: expected a share such as 10% or 0.1")
    return share


def _shared(base: Mapping[str, Any], scenarios: Iterable[str]) -> list[str]:
    """The scenarios to compare: those of the baseline, but not what the harness itself costs."""
    names = [name for name in scenarios if name in base["scenarios"] and name != "null"]
    if not names:
        raise OptionError(f"the baseline has none of these scenarios, but {', '.join(base['scenarios']) or 'none'}")
    return names


def _ratio(base: Sequence[Sequence[float]], now: Sequence[Sequence[float]], *, confidence: float) -> dict[str, float]:
    medians = [percentile([ms for samples in each for ms in samples], 50) for each in (base, now)]
    errors = [max(standard_error(each, 50), 1e-9) for each in (base, now)]
    freedoms = [len(each) - 1 for each in (base, now)]
    error = math.hypot(*errors)
    freedom = error**4 / sum(one**4 / free for one, free in zip(errors, freedoms, strict=True))
    half = student_t(1 - (1 - confidence) / 2, freedom) * error
    ratio = medians[1] / medians[0]
    return {
        "base_ms": medians[0],
        "ms": medians[1],
        "ratio": ratio,
        "low": ratio * math.exp(-half),
        "high": ratio * math.exp(half),
    }


def _check_shape(found: Mapping[str, Any]) -> None:
    """Raise one of Python's own errors where something is missing or is no number."""
    for group, keys in _SAME.items():
        for key in keys:
            found[group][key]
    for one in found["scenarios"].values():
        for samples in one["samples_ms"]:
            percentile([float(ms) for ms in samples], 50)
