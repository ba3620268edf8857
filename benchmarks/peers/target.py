"""A measured figure, and the limit that it should keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from crackedge.benchmarks.intervals import order_statistics
from crackedge.benchmarks.peers.turns import Turns, rounds_ms
from crackedge.benchmarks.table import aligned
from crackedge.edge_runtime.errors import OptionError

_KEYS = ("results", "median_ms", "min_ms", "max_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A figure over the rounds of a measurement, and its limit where there is one.

    Attributes:
        what: the figure, in words.
        unit: ``"x"`` for a ratio, or ``"ms"``.
        median: of the rounds.
        low: lower end of the median's interval, at a confidence of 95 %; None where the rounds are too few to have one.
        high: its upper end.
        least: the smallest of the rounds.
        most: the largest.
        rounds: how many.
        at_least: what the median should reach.
        at_most: what it should not exceed.
    """

    what: str
    unit: str
    median: float
    low: float | None
    high: float | None
    least: float
    most: float
    rounds: int
    at_least: float | None = None
    at_most: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the median keeps to its limit; True without one."""
        at_least = float("-inf") if self.at_least is None else self.at_least
        at_most = float("inf") if self.at_most is None else self.at_most
        return at_least <= self.median <= at_most


def target(
    what: str,
    figures: Sequence[float],
    *,
    unit: str = "x",
    at_least: float | None = None,
    at_most: float | None = None,
) -> Target:
    """The figure of each round, seen together.

    Raises:
        OptionError: there are none.
    """
    if not figures:
        raise OptionError(f"{what}: no rounds; expected at least one")
    middle = order_statistics(figures, 50)
    return Target(
        what=what,
        unit=unit,
        median=middle.value,
        low=middle.low,
        high=middle.high,
        least=min(figures),
        most=max(figures),
        rounds=len(figures),
        at_least=at_least,
        at_most=at_most,
    )


def ratio(
    turns: Turns, over: str, under: str, *, at_least: float | None = None, at_most: float | None = None
) -> Target:
    """How many times as long one way takes as another, formed within each round."""
    figures = [a / b for a, b in zip(rounds_ms(turns, over), rounds_ms(turns, under), strict=True)]
    return target(f"{over} / {under}", figures, at_least=at_least, at_most=at_most)


def describe_target(one: Target) -> dict[str, Any]:
    """Ready to be written as JSON."""
    return {**asdict(one), "kept": one.kept}


def missed(part: Mapping[str, Any]) -> list[str]:
    """The targets of a measured part that were not kept, each in a line."""
    return [
        f"{part['part']}: {one['what']} is {one['median']:.2f} {one['unit']}, expected {limit_text(one)}"
        for one in part["targets"]
        if not one["kept"]
    ]


def limit_text(one: Mapping[str, Any]) -> str:
    """The limit of a described target, in words."""
    limits = (("at least", one["at_least"]), ("at most", one["at_most"]))
    return " and ".join(f"{words} {limit:g} {one['unit']}" for words, limit in limits if limit is not None) or "-"


def spread_text(one: Mapping[str, Any]) -> str:
    """Between what the median of a described target lies, or, with too few rounds, what the rounds gave."""
    if one["low"] is None or one["high"] is None:
        return f"rounds {one['least']:.2f} to {one['most']:.2f}"
    return f"{one['low']:.2f} to {one['high']:.2f}"


def format_part(part: Mapping[str, Any]) -> str:
    """A measured part as tables for the terminal."""
    given = ", ".join(f"{key} {value}" for key, value in part["input"].items())
    model = part["model"]
    lines = [
        f"{part['part']}: {model['name']} ({model['quantization']}, sha256 {model['sha256'][:12]}), {given}, "
        f"{part['threads']} threads, {part['rounds']} rounds"
    ]
    if "ways" in part:
        rows = [[way, *(one[key] for key in _KEYS)] for way, one in part["ways"].items()]
        lines.append(aligned(["way", "results", "median ms", "min ms", "max ms"], rows, digits=2))
    for key in ("by_size", "by_stride"):
        if key in part:
            names = [name for name in part[key][0] if name not in (*_KEYS, "samples_ms")]
            rows = [[*(one[name] for name in (*names, *_KEYS[1:]))] for one in part[key]]
            lines.append(aligned([*names, "median ms", "min ms", "max ms"], rows, digits=2))
    for one in part["targets"]:
        verdict = "" if limit_text(one) == "-" else f", expected {limit_text(one)}: {'ok' if one['kept'] else 'MISSED'}"
        lines.append(f"{one['what']}: {one['median']:.2f} {one['unit']} ({spread_text(one)}){verdict}")
    lines += [f"{what} {figure:.3g}" for what, figure in part.get("agreement", {}).items()]
    lines += [f"skipped {what}: {reason}" for what, reason in part.get("skipped", {}).items()]
    return "\n".join(lines)
