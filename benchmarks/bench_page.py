"""Measurements as one HTML page that needs nothing beside it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from crackedge.benchmarks.bench_report import figures_table, notes, title
from crackedge.benchmarks.machine import NOT_MEASURED, format_machine
from crackedge.benchmarks.plots import Series, distribution, plot
from crackedge.benchmarks.sustained import format_sustained
from crackedge.benchmarks.sweep import ranked_by, ranked_ms, worst_auc
from crackedge.benchmarks.table import Figure
from crackedge.benchmarks.table import text as cell_text

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2.2rem; font-size: 1.2rem; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } caption { text-align: left; }
td, th { text-align: right; padding: .15rem .7rem; border-bottom: 1px solid #e2e2e2; white-space: nowrap; }
td:first-child, th:first-child { text-align: left; } .plots { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; width: 33rem; max-width: 100%; } svg { width: 100%; height: auto; } pre { white-space: pre-wrap; }
.warning { border-left: 4px solid #d62728; padding-left: .7rem; } figcaption { font-weight: 600; }
"""
_MOST_ON_ONE_PLOT = 6


def bench_page(result: Mapping[str, Any]) -> str:
    """The page of one measurement."""
    name = result["model"]["name"]
    return page(f"{name}: latency", measurement(result))


def sweep_page(found: Mapping[str, Any], *, text: str) -> str:
    """The page of several plans: all side by side, with the text that says which is which, then each for itself."""
    measured = [one for one in found["plans"] if one["failed"] is None]
    numbers = {one["name"]: number for number, one in enumerate(found["plans"], 1)}
    parts = [heading("Speed and accuracy"), *_front_plot(found), f"<pre>{_text(text)}</pre>"]
    parts += [heading(f"{numbers[one['name']]}: {one['name']}") + measurement(one) for one in measured]
    return page("Plans side by side", "\n".join(parts))


def text_page(name: str, text: str) -> str:
    """The page of what was said in the terminal."""
    return page(name, f"<pre>{_text(text)}</pre>")


def measurement(result: Mapping[str, Any]) -> str:
    """One measurement: figures, machine, plots."""
    plots = [
        figure(
            f"{name}: {one['what']}",
            plot(
                [
                    Series(f"process {number}", distribution(samples))
                    for number, samples in enumerate(_drawable(one["samples_ms"]), 1)
                ],
                x_label="ms",
                y_label="% of the samples are no larger",
                from_zero=True,
            ),
        )
        for name, one in result["scenarios"].items()
        if name != "null"
    ]
    if sustained := result.get("sustained"):
        plots += _sustained_plots(sustained)
    return "\n".join(
        [
            f"<p>{_text(title(result))}</p>",
            *(f'<p class="warning">{_text(line)}</p>' for line in result["warnings"]),
            table(*figures_table(result)),
            f"<pre>{_text(chr(10).join(notes(result)))}</pre>",
            f"<pre>{_text(format_machine(result['machine'], result['machine_after']))}</pre>",
            f'<div class="plots">{"".join(plots)}</div>',
        ]
    )


def page(name: str, body: str) -> str:
    """A whole page."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(name)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style></head><body>\n<h1>{_text(name)}</h1>\n{body}\n</body></html>\n"
    )


def heading(name: str) -> str:
    """A heading of the second level."""
    return f"<h2>{_text(name)}</h2>\n"


def table(header: Sequence[str], rows: Sequence[Sequence[Figure]]) -> str:
    """A table of figures."""
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in header)
    body = "\n".join("<tr>" + "".join(f"<td>{_text(cell_text(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def figure(caption: str, drawing: str) -> str:
    """A drawing with its caption."""
    return f"<figure><figcaption>{_text(caption)}</figcaption>{drawing}</figure>\n"


def _drawable(processes: Sequence[Sequence[float]]) -> Sequence[Sequence[float]]:
    """The processes one by one; all as one where they are many or have one sample each."""
    if len(processes) > _MOST_ON_ONE_PLOT or all(len(samples) == 1 for samples in processes):
        return [[ms for samples in processes for ms in samples]]
    return processes


def _sustained_plots(found: Mapping[str, Any]) -> list[str]:
    parts = found["parts"]
    drawn = [
        figure(
            format_sustained(found),
            plot(
                [Series("", [(part["time_s"], part["calls_per_s"]) for part in parts], dots=len(parts) == 1)],
                x_label="seconds",
                y_label="frames a second",
                from_zero=True,
            ),
        )
    ]
    for key, label in (("temperature_c", "°C"), ("clock_mhz", "MHz")):
        points = [(part["time_s"], part[key]) for part in parts if part[key] != NOT_MEASURED]
        if points:
            drawn.append(figure(label, plot([Series("", points)], x_label="seconds", y_label=label)))
    return drawn


def _front_plot(found: Mapping[str, Any]) -> list[str]:
    known = [
        (number, one, quality)
        for number, one in enumerate(found["plans"])
        if one["failed"] is None and (quality := worst_auc(one)) is not None
    ]
    if not known:
        return ["<p>Accuracy: not measured, and no card says it; give --data.</p>"]
    points = {number: (ranked_ms(one)["p50"]["value"], quality[1]) for number, one, quality in known}
    best = [points[number] for number in found["front"]]
    others = Series("plans", list(points.values()), [str(number + 1) for number in points], line=False, dots=True)
    front = Series("no other is both faster and better", best, dots=True)
    by = ranked_by(known[0][1])
    drawing = plot([others, front], x_label=f"{by}, median ms", y_label="AUC on the worst set", log_x=True)
    return [figure("By their numbers; towards the upper left is better", drawing)]


def _text(value: object) -> str:
    return html.escape(str(value).encode("utf-8", "replace").decode())
