"""The README's tables, made from model cards and from the figures under ``benchmarks/reference/``.

    python -m crackedge.benchmarks.readme README.md [--check]

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; what is between is replaced. ``--check`` changes
nothing and exits with 5 when something would change.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from crackedge.edge_runtime.errors import CrackedgeError, DataError
from crackedge.edge_runtime.model import open_model, shipped_models

REFERENCE = Path(__file__).parent / "reference"
PROOF_FAILED = 5  # exit code

_PLACE = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rewrite(text: str) -> str:
    """A README with its tables made anew.

    Raises:
        DataError: it asks for a table that there is none of, or figures are missing.
    """

    def table(place: re.Match[str]) -> str:
        name = place["name"]
        if name not in TABLES:
            raise DataError(f"table {name!r}: expected one of {', '.join(sorted(TABLES))}")
        return f"{place[1]}{TABLES[name]()}\n{place[3]}"

    return _PLACE.sub(table, text)


def accuracy() -> str:
    """Each shipped model on each validation set, by its card."""
    rows: list[list[str]] = []
    for name in shipped_models():
        card = open_model(name).card
        for engine in ("dense", "tiles"):
            for data_set, one in card.metrics[engine].items():
                rows.append([f"`{name}`", engine, data_set, *_figures(one)])
    return _markdown(["model", "engine", "set", *_FIGURE_NAMES], rows)


def scenes() -> str:
    """The default model on synthetic scenes."""
    result = _reference("scene_accuracy.json")
    rows = [[surface, *_figures(one["metrics"])] for surface, one in result["sets"].items()]
    return _markdown(["surface", *_FIGURE_NAMES], rows)


def one_pass() -> str:
    """One pass against the tile loop."""
    result = _reference("one_pass.json")
    rows = [[way, str(one["windows"]), f"{one['median_ms']:.1f}"] for way, one in result["ways"].items()]
    ratio = result["ratio"]
    return (
        _markdown(["way", "windows", "median ms"], rows)
        + f"\n\nOne pass is **{ratio['median']:.1f} times** as fast (rounds: {ratio['min']:.1f} to {ratio['max']:.1f}; "
        f"{result['rounds']} rounds, {result['threads']} threads, {result['runtime']}, {_machine(result)})."
    )


def bench() -> str:
    """Latency of the default model."""
    result = _reference("bench.json")
    rows = []
    for scenario, one in result["scenarios"].items():
        figures = one["ms"]
        rows.append([scenario, str(figures["n"]), *(f"{figures[key]:.1f}" for key in ("p50", "p90", "p99"))])
    return (
        _markdown(["scenario", "n", "p50 ms", "p90 ms", "p99 ms"], rows)
        + f"\n\n{_machine(result)}, {result['plan']['runtime']}."
    )


def variants() -> str:
    """The files that an export can make of each shipped model's network, side by side."""
    rows: list[list[str]] = []
    for name in shipped_models():
        compared = _reference(f"variants_{name}.json")
        for one in compared["variants"]:
            if one["failed"]:
                rows.append([f"`{name}`", one["variant"], *"-----", "not proven"])
                continue
            equal = [figures["decisions_equal"] for sets in one["agreement"].values() for figures in sets.values()]
            rows.append(
                [
                    f"`{name}`",
                    one["variant"],
                    f"{one['bytes'] / 1e6:.2f}",
                    f"{one['tile_ms']:.2f}",
                    "-" if one["frame_ms"] is None else f"{one['frame_ms']:.1f}",
                    "-" if one["peak_memory_mib"] is None else str(one["peak_memory_mib"]),
                    f"{one['accelerated']:.0%}",
                    f"{min(equal):.1%}",
                ]
            )
    header = ["model", "variant", "MB", "tile ms", "1080p ms", "peak MiB", "accelerated", "decisions as float32's"]
    return _markdown(header, rows) + f"\n\n{_machine(compared)}."


def localisation() -> str:
    """The default model along annotated cracks of real videos."""
    rows = []
    for video in ("concrete_pan", "basement_wall"):
        total = _reference(f"localisation_{video}.json")
        rows.append(
            [
                f"`{video}.mp4`",
                str(total["frames_with_cracks"]),
                f"{total['found_share']:.0%}",
                f"{total['far_share']:.0%}",
            ]
        )
    header = ["video", "annotated frames", "frames with >= 60 % of the crack marked", "marked cells farther than 64 px"]
    return _markdown(header, rows)


TABLES: dict[str, Callable[[], str]] = {
    "accuracy": accuracy,
    "scenes": scenes,
    "one-pass": one_pass,
    "bench": bench,
    "variants": variants,
    "localisation": localisation,
}

_FIGURE_NAMES = ("crack + sound", "accuracy", "recall", "false positives", "AUC")


def _figures(one: dict[str, Any]) -> list[str]:
    keys = ("accuracy", "recall", "false_positive_rate", "auc")
    return [
        f"{one['n_crack']} + {one['n_no_crack']}",
        *("-" if one[key] is None else f"{one[key]:.3f}" for key in keys),
    ]


def _reference(name: str) -> dict[str, Any]:
    path = REFERENCE / name
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); run the command that writes it") from error
    return found


def _machine(result: dict[str, Any]) -> str:
    machine = result["machine"]
    return f"{machine['cpu']}, {machine['cores_usable']} cores"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@click.command(help="Make the tables of a README anew from model cards and reference figures.")
@click.argument("readme", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Change nothing; exit 5 when something would change.")
def main(readme: Path, check: bool) -> None:
    """Rewrite, or compare."""
    before = readme.read_text(encoding="utf-8")
    try:
        after = rewrite(before)
    except CrackedgeError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    if check and after != before:
        click.echo(f"{readme}: its tables are out of date; python -m crackedge.benchmarks.readme {readme}", err=True)
        sys.exit(PROOF_FAILED)
    if not check:
        readme.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
