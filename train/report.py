"""The report of a training run: one HTML file that needs nothing beside it, and ``curves.png``.

What it shows of each validation set comes from every window's score, the network's own: uncalibrated, decided at 0.5.
What the exported file reaches, calibrated, stands in its model card.
"""

from __future__ import annotations

import base64
import html
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np

from crackedge.benchmarks.calibration import sigmoid
from crackedge.benchmarks.data_sets import Entry, LabelledWindow, read_picture
from crackedge.edge_runtime.errors import DataError
from crackedge.edge_runtime.lattice import TILE
from crackedge.edge_runtime.output_file import replacing
from crackedge.train import charts, run_folder
from crackedge.train.charts import Chart, Styles
from crackedge.train.phases import History, best_epoch
from crackedge.train.validation import SetScores, figures

MOST_MISTAKES = 24  # pictures
_JPEG_QUALITY = 80
_COLUMNS = {
    "n_crack": "crack",
    "n_no_crack": "no crack",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "false_positive_rate": "false-positive rate",
    "auc": "AUC",
    "average_precision": "average precision",
    "log_loss": "log loss",
    "ece": "ECE",
}
_CSS = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; margin: 0 auto; max-width: 75rem; padding: 0 1rem 3rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; } p, li { max-width: 45rem; }
table { border-collapse: collapse; } th, td { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, .text { text-align: left; } thead th { vertical-align: bottom; } .facts td { overflow-wrap: anywhere; }
.wide { overflow-x: auto; } .wide th:first-child { position: sticky; left: 0; background: #fff; white-space: nowrap; }
.row { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; } figure { margin: 0; } figcaption { font-size: .85rem; }
.chart { width: 27rem; max-width: 100%; } .chart img { width: 100%; height: auto; }
.mistake { width: 14rem; overflow-wrap: anywhere; } .mistake img { width: 100%; height: auto; display: block; }
.line { display: inline-block; width: 1.6rem; margin-right: .4rem; border-top-width: 3px; vertical-align: middle; }
.note { border-left: 4px solid #d62728; padding-left: .8rem; }
pre { overflow-x: auto; font-size: .75rem; line-height: 1.25; } summary { cursor: pointer; }
"""


def write_report(
    folder: Path,
    scores: Sequence[SetScores],
    *,
    history: History,
    config: Mapping[str, Any],
    network: keras.Model,
) -> None:
    """Write ``report.html`` and ``curves.png``.

    Args:
        folder: the run folder.
        scores: of every window of each validation set; may be empty.
        history: a line for each epoch, at least one.
        config: ``config.json``.
        network: what was scored.

    Raises:
        OutputError: they cannot be written.
    """
    names = [one.name for one in scores]
    styles = charts.set_styles(dict.fromkeys(names + sorted({name for line in history for name in line["val"]})))
    over_epochs = _over_epochs(history, styles)
    with replacing(folder / run_folder.CURVES) as part:
        drawn = (partial(charts.with_legend, chart=chart) for chart, _ in over_epochs.values())
        charts.save(part, *drawn, file_format="png")
    page = "\n".join(
        [
            _head(folder, history, config, network),
            _section("Validation sets", _measured(scores, styles, config)),
            _section("The worst mistakes", _gallery(scores)),
            _section("Over the epochs", _key(styles) + _row(_chart(*one) for one in over_epochs.items())),
            _section("What it was made of", _made_of(config, network)),
            "</body></html>\n",
        ]
    )
    with replacing(folder / run_folder.REPORT) as part:
        part.write_text(page, encoding="utf-8")


def _head(folder: Path, history: History, config: Mapping[str, Any], network: keras.Model) -> str:
    recipe, name = config["recipe"], _text(folder.resolve().name)
    kept = best_epoch(history) if recipe["patience"] else len(history)
    facts = {
        "Recipe": recipe["name"],
        "Network": f"{network.name}, {network.count_params():,} parameters",
        "Began with": config["weights"] or "random weights",
        "Epochs": f"{len(history)}; the network is that of epoch {kept}",
        "Time": f"{sum(line['wall_s'] for line in history) / 60:.1f} min, without the measuring at the end",
        "Made by": ", ".join(f"{tool} {version}" for tool, version in config["tools"].items()),
    }
    rows = "".join(f'<tr><th scope="row">{key}</th><td class="text">{_text(fact)}</td>' for key, fact in facts.items())
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}: training report</title><style>{_CSS}</style></head><body>\n"
        f'<h1>{name}: training report</h1>\n<table class="facts">{rows}</table>'
    )


def _measured(scores: Sequence[SetScores], styles: Styles, config: Mapping[str, Any]) -> str:
    if not scores:
        return "<p>No validation set has a window to score: nothing was measured.</p>"
    measured = {one.name: figures(one) for one in scores}
    shared = config.get("leaks", {}).get("shared_photographs", {})
    both = [one for one in scores if charts.has_both_classes(one)]
    parts = [
        "<p>Scores are the network's own: sigmoids of uncalibrated logits, of each window of 224 px by itself, with a "
        "crack from 0.5 on. The figures to go by are those of the model card: the export calibrates, chooses the "
        "thresholds, and measures the exported file.</p>",
        *(f'<p class="note">The figures flatter. {_text(why)}.</p>' for why in shared.values()),
        _figures_table(measured, styles),
        "<p>A set of one class has no figures that compare the two. ECE: how far the scores are from the share of "
        "cracks, in the mean. Log loss in nats.</p>",
        "<h3>Confusion matrices at 0.5</h3>" + _row(_confusion(name, one) for name, one in measured.items()),
        "<h3>At every threshold</h3>",
    ]
    if both:
        curves: dict[str, tuple[Chart, str]] = {
            "ROC": (partial(charts.roc, scores=both, styles=styles), "Towards the upper left is better."),
            "Precision and recall": (
                partial(charts.precision_recall, scores=both, styles=styles),
                "Towards the upper right is better; it depends on how rare cracks are in a set.",
            ),
            "Reliability": (
                partial(charts.reliability, scores=both, styles=styles),
                "Below the diagonal the network is too sure of cracks. A dot's area is its share of a set's windows; "
                "lines pass over dots of fewer than ten windows.",
            ),
        }
        parts.append(_key({one.name: styles[one.name] for one in both}) + _row(_chart(*one) for one in curves.items()))
    else:
        parts.append("<p>No set has both classes.</p>")
    return "\n".join(parts)


def _figures_table(measured: Mapping[str, Mapping[str, Any]], styles: Styles) -> str:
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("set", *_COLUMNS.values()))
    rows = "\n".join(
        f'<tr><th scope="row">{_line(styles[name])}{_text(name)}</th>'
        + "".join(f"<td>{_figure(one[key])}</td>" for key in _COLUMNS)
        for name, one in measured.items()
    )
    return f'<div class="wide"><table id="figures"><thead><tr>{heads}</thead><tbody>{rows}</tbody></table></div>'


def _confusion(name: str, measured: Mapping[str, Any]) -> str:
    counts = measured["confusion"]
    rows = []
    for truth, cells in (
        ("crack", (counts["true_crack"], counts["false_no_crack"])),
        ("no crack", (counts["false_crack"], counts["true_no_crack"])),
    ):
        shaded = "".join(
            f'<td style="background: rgba(31, 119, 180, {0.6 * count / max(1, sum(cells)):.2f})">{count}</td>'
            for count in cells
        )
        rows.append(f'<tr><th scope="row">is {truth}</th>{shaded}')
    return (
        f'<table class="confusion"><caption>{_text(name)}</caption><thead><tr><td></td><th scope="col">said crack</th>'
        f'<th scope="col">said no crack</th></thead><tbody>{"".join(rows)}</tbody></table>'
    )


def _gallery(scores: Sequence[SetScores]) -> str:
    parts = [
        "<p>Windows on the wrong side of 0.5: in turn the worst missed crack and the worst false alarm of each set, of "
        f"a photograph at most one of each, {MOST_MISTAKES} in all. Some are the label's mistake.</p>"
    ]
    shown = list(itertools.islice(_readable(_mistakes(scores)), MOST_MISTAKES))
    for one in scores:
        for crack, kind in ((True, "missed cracks"), (False, "false alarms")):
            found = [
                _mistake(one.entries[index], one.windows[index], float(sigmoid(one.logits[index])), jpeg)
                for other, index, jpeg in shown
                if other is one and one.windows[index].crack == crack
            ]
            if found:
                parts.append(f"<h3>{_text(one.name)}: {kind}</h3>{_row(found)}")
    return "\n".join(parts if shown else ["<p>None to show.</p>"])


def _mistakes(scores: Sequence[SetScores]) -> Iterator[tuple[SetScores, int]]:
    """Windows on the wrong side, by set and index: the worst of each set and kind, then the second worst, and so on."""
    queues = []
    for one in scores:
        wrong = (sigmoid(one.logits) >= 0.5) != one.labels
        worst_first = [int(index) for index in np.argsort(-np.abs(one.logits), kind="stable") if wrong[index]]
        for crack in (True, False):
            by_photograph: dict[Path, int] = {}
            for index in worst_first:
                if one.windows[index].crack == crack:
                    by_photograph.setdefault(one.entries[index].image, index)
            queues.append([(one, index) for index in by_photograph.values()])
    for turn in itertools.zip_longest(*queues):
        yield from (mistake for mistake in turn if mistake is not None)


def _readable(mistakes: Iterator[tuple[SetScores, int]]) -> Iterator[tuple[SetScores, int, bytes]]:
    """Mistakes with their pictures as JPEG; those that cannot be read any more are passed over."""
    for one, index in mistakes:
        window = one.windows[index]
        try:
            image = read_picture(one.entries[index]).image
        except DataError:
            continue
        tile = image[window.y : window.y + TILE, window.x : window.x + TILE]
        if tile.shape == (TILE, TILE, 3):
            _, jpeg = cv2.imencode(".jpg", tile[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            yield one, index, jpeg.tobytes()


def _mistake(entry: Entry, window: LabelledWindow, score: float, jpeg: bytes) -> str:
    file, truth = "/".join(entry.image.parts[-2:]), "crack" if window.crack else "no crack"
    caption = f"{_text(file)}, at {window.x}, {window.y} px<br>score {score:.3f}, labelled {truth}"
    return f'<figure class="mistake">{_image("image/jpeg", jpeg, alt=file)}<figcaption>{caption}</figcaption></figure>'


def _over_epochs(history: History, styles: Styles) -> dict[str, tuple[Chart, str]]:
    """Charts and what is to be said of each, by title."""
    return {
        "Loss": (
            partial(charts.loss, history=history),
            "Training: windows and cells of augmented canvases. Validation: windows, mean over the sets trained on.",
        ),
        "Validation accuracy": (
            partial(charts.accuracy, history=history, styles=styles),
            "Of a set of one class, the share of its windows that is decided rightly.",
        ),
        "Validation AUC": (partial(charts.auc, history=history, styles=styles), "Of sets that have both classes."),
        "Learning rate": (partial(charts.learning_rate, history=history), "At the end of each epoch."),
    }


def _made_of(config: Mapping[str, Any], network: keras.Model) -> str:
    columns = ("name", "kind", "photographs", "weight", "licence", "source")
    sets = _table(columns, ([one[column] for column in columns] for one in config["sets"]))
    held_out = ", ".join(f"{one['name']} {one['photographs']}" for one in config["held_out"]) or "none"
    recipe = json.dumps(config["recipe"], indent=1, ensure_ascii=False)
    return "\n".join(
        [
            sets,
            f"<p>Photographs to validate with, after each epoch a sample of them: {_text(held_out)}.</p>",
            f"<details><summary>Model summary</summary>{_summary(network)}</details>",
            f"<details><summary>Recipe</summary><pre>{_text(recipe)}</pre></details>",
        ]
    )


def _summary(network: keras.Model) -> str:
    """Keras' own is cut off at the width of a terminal."""
    rows = []
    for layer in network.layers:
        inside = [(part, f"{layer.name}/") for part in layer.layers] if isinstance(layer, keras.Model) else []
        for part, where in [(layer, ""), *inside]:
            shape = " x ".join("?" if side is None else str(side) for side in part.output.shape)
            rows.append((where + part.name, type(part).__name__, shape, f"{part.count_params():,}"))
    return _table(("layer", "type", "output", "parameters"), [*rows, ("all", "", "", f"{network.count_params():,}")])


def _table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    heads = "".join(f'<th scope="col" class="text">{column}</th>' for column in columns)
    lines = "\n".join("<tr>" + "".join(f'<td class="text">{_text(cell)}</td>' for cell in row) for row in rows)
    return f'<div class="wide"><table><thead><tr>{heads}</thead><tbody>{lines}</tbody></table></div>'


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>\n{body}\n</section>"


def _row(items: Iterable[str]) -> str:
    return f'<div class="row">{"".join(items)}</div>'


def _key(styles: Styles) -> str:
    return _row([f"<span>{_line(style)}{_text(name)}</span>" for name, style in styles.items()])


def _line(style: Mapping[str, str]) -> str:
    return f'<span class="line" style="border-top: 3px {style["linestyle"]} {style["color"]}"></span>'


def _chart(title: str, chart_and_caption: tuple[Chart, str]) -> str:
    chart, caption = chart_and_caption
    drawing = io.BytesIO()
    charts.save(drawing, chart, file_format="svg")
    image = _image("image/svg+xml", drawing.getvalue(), alt=title)
    return f'<figure class="chart"><b>{title}</b>{image}<figcaption>{caption}</figcaption></figure>'


def _image(media_type: str, data: bytes, *, alt: str) -> str:
    # An image of its own, not markup: the identifiers inside two drawings cannot clash.
    return f'<img alt="{_text(alt)}" src="data:{media_type};base64,{base64.b64encode(data).decode()}">'


def _figure(value: float | int | None) -> str:
    return "&ndash;" if value is None else str(value) if isinstance(value, int) else f"{value:.4f}"


def _text(value: object) -> str:
    """As HTML; names of files may hold halves of characters, which no file of text can."""
    return html.escape(str(value).encode("utf-8", "replace").decode())
