"""The two engines side by side: do they decide alike, and does a frame's border fire more often than its inside?

Each engine reads the same windows by its own calibration, at the same operating point. Whether the border fires is told
of the dense engine, which alone sees a frame as a whole: of the crack-free cells of masked pictures, how many reach
the cell threshold, the outermost ones against the others. Cells beside a crack are left out: most of the false ones
are there, and inside a frame a cell has more neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from crackedge.benchmarks import bootstrap
from crackedge.benchmarks.data_sets import LabelledSet
from crackedge.benchmarks.evaluation import Progress, SetLogits, cell_scores, collect_logits, judge_all, window_scores
from crackedge.benchmarks.metrics import auc
from crackedge.benchmarks.table import Figure, aligned, ends
from crackedge.edge_runtime.models.card import Calibration, OperatingPoint
from crackedge.edge_runtime.models.model import Model
from crackedge.edge_runtime.scan.dense_engine import check_logit_map


def evaluate_both(
    model: Model,
    sets: Iterable[LabelledSet],
    *,
    operating_point: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The dense engine's evaluation, with ``engines`` in it: how the tiles engine compares, set by set.

    Args:
        model: an opened logit map.
        sets: labelled sets of different names.
        operating_point: name of one in the card; None takes the card's default.
        threads: of the interpreter; None takes its default.
        progress: is told after each picture.

    Raises:
        DataError: two sets of one name, or a set without one usable picture.
        OptionError: the model is no logit map, or has no such operating point.
        ModelError: the model does not run.
    """
    check_logit_map(model)
    listed = list(sets)
    engines = ("tiles", "dense")
    points = {engine: model.card.operating_point(engine, operating_point) for engine in engines}
    calibration = {engine: model.card.engine_calibration(engine) for engine in engines}
    logits = {
        engine: collect_logits(model, listed, engine=engine, threads=threads, progress=progress) for engine in engines
    }
    result = judge_all(model, logits["dense"], engine="dense", operating_point=operating_point)
    compared = {}
    for labelled, tiles, dense in zip(listed, logits["tiles"], logits["dense"], strict=True):
        compared[labelled.name] = {
            **agreement({"tiles": tiles, "dense": dense}, calibration, points),
            "border": border(dense, calibration["dense"], points["dense"]) if labelled.kind == "masks" else None,
        }
    return {**result, "engines": compared}


def agreement(
    logits: Mapping[str, SetLogits], calibration: Mapping[str, Calibration], points: Mapping[str, OperatingPoint]
) -> dict[str, Any]:
    """How alike the engines are on one set.

    Args:
        logits: what ``"tiles"`` and ``"dense"`` said of the same windows.
        calibration: of each engine.
        points: of each engine, of one name.

    Returns:
        ``n`` windows, ``decided_alike`` (a share; None without windows), ``auc`` of each engine and
        ``auc_difference``, dense less tiles (None for one class); the shares and the difference with their intervals.
    """
    tiles, dense = logits["tiles"], logits["dense"]
    scores = {engine: window_scores(one, calibration[engine]) for engine, one in logits.items()}
    said = {engine: one >= points[engine].window_threshold for engine, one in scores.items()}
    alike, labels, files = said["tiles"] == said["dense"], tiles.window_labels, tiles.window_files
    areas = {engine: auc(one.window_logits, labels) for engine, one in logits.items()}
    difference = interval = None
    if areas["dense"] is not None and areas["tiles"] is not None:
        found, picture = np.unique(files, return_inverse=True)
        weights = bootstrap.draws(found.size)
        drawn, beside = (bootstrap.resampled_auc(weights, one.window_logits, labels, picture) for one in (dense, tiles))
        difference = areas["dense"] - areas["tiles"]
        interval = bootstrap.difference_interval(difference, drawn - beside, bootstrap.pairs(labels, files))
    return {
        "n": int(alike.size),
        "decided_alike": float(alike.mean()) if alike.size else None,
        "decided_alike_interval": bootstrap.share_interval(alike, files),
        "auc": areas,
        "auc_difference": difference,
        "auc_difference_interval": interval,
    }


def border(dense: SetLogits, calibration: Calibration, point: OperatingPoint) -> dict[str, Any] | None:
    """False-positive rates of a set's cells away from cracks, at the frame's border and inside, and their difference.

    Returns:
        ``n_border`` and ``n_inside`` cells, ``false_positive_rate_border``, ``false_positive_rate_inside``,
        ``difference``, border less inside, and ``difference_interval``; None without cells of both kinds.
    """
    free = ~dense.cell_labels & ~dense.cell_beside_crack
    fires = cell_scores(dense, calibration)[free] >= point.cell_threshold
    outermost = dense.cell_at_border[free]
    if not outermost.any() or outermost.all():
        return None
    found, picture = np.unique(dense.cell_files[free], return_inverse=True)
    weights = bootstrap.draws(found.size)
    at_border, inside = (
        bootstrap.resampled_share(weights, fires[part], picture[part]) for part in (outermost, ~outermost)
    )
    rates = float(fires[outermost].mean()), float(fires[~outermost].mean())
    difference = rates[0] - rates[1]
    return {
        "n_border": int(np.count_nonzero(outermost)),
        "n_inside": int(np.count_nonzero(~outermost)),
        "false_positive_rate_border": rates[0],
        "false_positive_rate_inside": rates[1],
        "difference": difference,
        "difference_interval": bootstrap.difference_interval(difference, at_border - inside, found.size),
    }


def format_engines(compared: Mapping[str, Mapping[str, Any]]) -> str:
    """The ``engines`` of an evaluation as tables for the terminal."""
    rows: list[list[Figure]] = []
    borders: list[list[Figure]] = []
    for name, one in compared.items():
        alike = [one["decided_alike"], ends(one["decided_alike_interval"])]
        areas = [one["auc"]["tiles"], one["auc"]["dense"], one["auc_difference"], ends(one["auc_difference_interval"])]
        rows.append([name, one["n"], *alike, *areas])
        if at := one["border"]:
            rates = [at["false_positive_rate_border"], at["false_positive_rate_inside"]]
            difference = [at["difference"], ends(at["difference_interval"], digits=4)]
            borders.append([name, at["n_border"], at["n_inside"], *rates, *difference])
    header = ["set", "windows", "decided alike", "95 %", "AUC tiles", "AUC dense", "difference", "95 %"]
    lines = ["tiles and dense, each by its own calibration", aligned(header, rows)]
    if borders:
        header = ["set", "at the border", "inside", "false pos. at the border", "inside", "difference", "95 %"]
        lines += ["", "cells of the dense engine away from cracks", aligned(header, borders, digits=4)]
    return "\n".join(lines)
