"""The README's tables, made from model cards and from the figures under ``benchmarks/reference/``.

    python -m crackedge.benchmarks.readme README.md [--check]

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; what is between is replaced. ``--check`` changes
nothing and exits with 5 when something would change.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from crackedge.benchmarks.bench_report import figures_table
from crackedge.benchmarks.peers.target import spread_text
from crackedge.benchmarks.program import PROOF_FAILED, errors_in_a_line
from crackedge.benchmarks.soak import format_soak
from crackedge.benchmarks.table import ends, text
from crackedge.edge_runtime.errors import DataError
from crackedge.edge_runtime.models.model import open_model, shipped_models

REFERENCE = Path(__file__).parent / "reference"

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
    note = ""
    for name in shipped_models():
        card = open_model(name).card
        for engine in ("dense", "tiles"):
            for data_set, one in card.metrics[engine].items():
                rows.append([f"`{name}`", engine, data_set, *_figures(one)])
                if "auc_interval" in one:
                    note = "\n\nIn brackets: 95 % intervals, by bootstrap over the pictures."
    return _markdown(["model", "engine", "set", *_FIGURE_NAMES], rows) + note


def scenes() -> str:
    """The default model on synthetic scenes."""
    result = _reference("scene_accuracy.json")
    rows = [[surface, *_figures(one["metrics"])] for surface, one in result["sets"].items()]
    return _markdown(["surface", *_FIGURE_NAMES], rows)


def peers() -> str:
    """One frame in memory: the scan beside other ways to do it."""
    names = ("naive", "naive-32", "supervision", "sahi", "interpreter", "openvino-nano", "openvino-base")
    return _compared(names)


def runs() -> str:
    """Whole runs over a video beside scripts, and from process start to the first result."""
    return _compared(("run", "run-no-video", "run-libraries", "overlap", "cold-start"))


def growth() -> str:
    """How the cost of a frame grows with its size, the threads and the distance between windows."""
    part = _measured("growth")
    if part is None:
        return "*Not measured.*"
    threads = sorted({one["threads"] for one in part["by_size"]})
    sizes: dict[str, list[str]] = {}
    for one in part["by_size"]:
        sizes.setdefault(f"{one['width']}x{one['height']}", []).append(f"{one['median_ms']:.1f}")
    strides: dict[str, list[str]] = {}
    for one in part["by_stride"]:
        strides.setdefault(f"{one['stride']} px", []).append(f"{one['median_ms']:.1f}")
    engines = list(dict.fromkeys(one["engine"] for one in part["by_stride"]))
    by_size = _markdown(
        ["frame", *(f"{count} thread{'' if count == 1 else 's'}, ms" for count in threads)],
        [[size, *figures] for size, figures in sizes.items()],
    )
    by_stride = _markdown(
        [f"stride, {part['input']['width']}x{part['input']['height']}", *(f"{engine}, ms" for engine in engines)],
        [[stride, *figures] for stride, figures in strides.items()],
    )
    plot = "![Milliseconds a frame by its megapixels](benchmarks/reference/peers_growth.svg)"
    return f"{by_size}\n\n{by_stride}\n\n{plot}\n\nMedians of {part['rounds']} rounds, {_machine(part)}."


def bench() -> str:
    """Latency on each machine that has a reference file, ``bench_FINGERPRINT.json``: a table and what it was."""
    parts: list[str] = []
    for path in sorted(REFERENCE.glob("bench_*.json")):
        result = _reference(path.name)
        if path.stem != (name := f"bench_{result['machine']['fingerprint']}"):
            raise DataError(f"{path}: was measured on another machine than its name says; rename it to {name}.json")
        header, figures = figures_table(result)
        rows = [[f"`{result['model']['name']}`", *(str(cell) for cell in row)] for row in figures]
        plan, given, warnings = result["plan"], result["input"], result["warnings"]
        parts += [
            _markdown(["model", *header], rows),
            f"{_machine(result)}, {plan['engine']}, {plan['threads']} threads, {plan['runtime']}, "
            f"{given['width']}x{given['height']}, {result['restarts']} processes."
            + "".join(f" Warning: {warning}." for warning in warnings),
        ]
    if not parts:
        raise DataError(f"{REFERENCE}: no bench_*.json; crackedge bench --json writes one")
    return "\n\n".join(parts)


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


def faults() -> str:
    """Faults of live sources, provoked and survived."""
    result = _reference("faults.json")
    names = ["source", "fault", "due", "provoked", "survived"]
    rows = []
    for row in result["faults"]:
        silences_s = statistics.median(row["silence_s"]), max(row["silence_s"])
        rows.append([*(str(row[name]) for name in names), *(f"{seconds:.1f}" for seconds in silences_s)])
    return f"{_markdown([*names, 'median s', 'longest s'], rows)}\n\n{_machine(result)}."


def soak() -> str:
    """A long run at camera pace."""
    result = _reference("soak.json")
    rows = []
    for key, name, unit in (
        ("resident_kib", "memory, MiB", 1024),
        ("threads", "threads", 1),
        ("open_files", "files", 1),
    ):
        one = result[key]
        change, low, high = (60 * one["per_minute"][end] / unit for end in ("per_minute", "low", "high"))
        levels = (f"{one[level] / unit:.0f}" for level in ("median", "max"))
        rows.append([name, *levels, f"{change:+.1f} ({low:+.1f} to {high:+.1f})"])
    header = ["", "median", "most", "change in an hour (95 % interval)"]
    return f"{_markdown(header, rows)}\n\n{format_soak(result).splitlines()[0]}; {_machine(result)}."


def kills() -> str:
    """Runs ended at random moments."""
    result = _reference("kills.json")
    rows = [
        [name, str(one["runs"]), str(one["survived"]), f"{one['longest_end_s']:.1f}", f"{one['most_seconds_lost']:.2f}"]
        for name, one in result["signals"].items()
    ]
    header = ["signal", "runs", "nothing wrong", "longest end, s", "most of the marked video lost, s"]
    return f"{_markdown(header, rows)}\n\n{_machine(result)}."


def reuse() -> str:
    """Scores carried along with a moving camera."""
    result = _reference("reuse.json")
    rows = [
        [
            f"`{Path(one['source']).name if '://' not in one['source'] else one['source']}`",
            one["size"],
            str(one["frames"]),
            f"{one['fewer_pixels']:.1f}",
            *(f"{one[share]:.1%}" for share in ("lost", "added", "repeated_lost")),
            f"{one['mean_ms']['full'] / one['mean_ms']['reuse']:.1f}",
        ]
        for one in result["sources"]
    ]
    header = [
        "source",
        "size",
        "frames",
        "fewer pixels, times",
        "lost",
        "added",
        "lost by a second scan",
        "faster, times",
    ]
    return f"{_markdown(header, rows)}\n\n{_machine(result)}."


def overload() -> str:
    """A latency budget on a machine that is busy with something else."""
    result = _reference("overload.json")
    rows = [
        [
            way,
            str(one["frames"]),
            f"{one['results_per_s']:.1f}",
            *(f"{one['latency_ms'][percentile]:.0f}" for percentile in ("p50", "p95", "p99")),
            f"{one['longest_stale_s']:.2f}",
            f"{one['mean_scanned']:.0%}",
        ]
        for way, one in result["ways"].items()
    ]
    header = ["way", "frames", "results/s", "p50 ms", "p95 ms", "p99 ms", "longest unseen, s", "cells scanned a frame"]
    return f"{_markdown(header, rows)}\n\n{_machine(result)}, a busy process on each."


TABLES: dict[str, Callable[[], str]] = {
    "accuracy": accuracy,
    "scenes": scenes,
    "peers": peers,
    "runs": runs,
    "growth": growth,
    "bench": bench,
    "variants": variants,
    "localisation": localisation,
    "faults": faults,
    "soak": soak,
    "kills": kills,
    "reuse": reuse,
    "overload": overload,
}

_FIGURE_NAMES = ("crack + sound", "accuracy", "recall", "false positives", "AUC")


def _figures(one: Mapping[str, Any]) -> list[str]:
    keys = ("accuracy", "recall", "false_positive_rate", "auc")
    intervals = [ends(one.get(f"{key}_interval")) for key in keys]  # none in older cards and references
    return [
        f"{one['n_crack']} + {one['n_no_crack']}",
        *(text(one[key]) + (f" ({span})" if span else "") for key, span in zip(keys, intervals, strict=True)),
    ]


def _reference(name: str) -> dict[str, Any]:
    path = REFERENCE / name
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); run the command that writes it") from error
    return found


def _measured(name: str) -> dict[str, Any] | None:
    """A part of :mod:`crackedge.benchmarks.peers`; None where it was not measured."""
    file = f"peers_{name.replace('-', '_')}.json"
    return _reference(file) if (REFERENCE / file).exists() else None


def _compared(names: Sequence[str]) -> str:
    """What was compared in some parts, and on which machine."""
    rows: list[list[str]] = []
    notes: list[str] = []
    for name in names:
        part = _measured(name)
        if part is None:
            rows.append([name, "*not measured*", "", "", "", ""])
            continue
        for one in part["targets"]:
            over, _, under = one["what"].partition(" / ")
            figures = [f"{part['ways'][way]['median_ms']:.1f}" if way in part["ways"] else "" for way in (over, under)]
            shown = f"{one['median']:.0f} ms" if one["unit"] == "ms" else f"**{one['median']:.2f}**"
            rows.append([name, one["what"], *figures, shown, f"{spread_text(one)}; {one['rounds']} rounds"])
        rows += [[name, what, "", "", "*not measured*", reason] for what, reason in part.get("skipped", {}).items()]
        notes.append(f"{part['threads']} threads, {_machine(part)}")
    header = ["part", "a / b", "a, ms", "b, ms", "times as long", "95 % interval of the median"]
    return "\n\n".join([_markdown(header, rows), *(f"{note}." for note in dict.fromkeys(notes))])


def _machine(result: dict[str, Any]) -> str:
    machine = result["machine"]
    vectors = machine.get("vector_instructions")
    return f"{machine['cpu']}{f' with {vectors}' if vectors else ''}, {machine['cores_usable']} cores"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@click.command(help="Make the tables of a README anew from model cards and reference figures.")
@click.argument("readme", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Change nothing; exit 5 when something would change.")
def main(readme: Path, check: bool) -> None:
    """Rewrite, or compare."""
    before = readme.read_text(encoding="utf-8")
    with errors_in_a_line():
        after = rewrite(before)
    if check and after != before:
        click.echo(f"{readme}: its tables are out of date; python -m crackedge.benchmarks.readme {readme}", err=True)
        sys.exit(PROOF_FAILED)
    if not check:
        readme.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
