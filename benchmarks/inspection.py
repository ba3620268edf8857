"""What a model file is: its card, its graph, where its time goes on this device, and what is not accelerated."""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crackedge.benchmarks.evaluation import format_intervals, format_operating_points
from crackedge.benchmarks.machine import describe_machine, format_machine
from crackedge.benchmarks.operations import groups, read_graph, time_cuts, time_shares
from crackedge.benchmarks.table import Figure, aligned
from crackedge.edge_runtime.errors import ModelError
from crackedge.edge_runtime.lattice import TILE
from crackedge.edge_runtime.models.card import split_card
from crackedge.edge_runtime.models.interpreter import Interpreter, check_threads
from crackedge.edge_runtime.models.model import DEFAULT_MODEL, read_model

SCHEMA = 1

_SLOWEST = 8  # single operations that are listed


def inspect_model(
    name_or_path: str | Path = DEFAULT_MODEL,
    *,
    time: bool = True,
    threads: int | None = None,
    seconds: float = 4.0,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Everything that can be said of a model on this machine; ready to be written as JSON.

    Args:
        name_or_path: a shipped model or a ``.tflite`` file, with or without a card, with one image as input and one
            output.
        time: measure the operations' shares of the time.
        threads: of the interpreter; None takes its default.
        seconds: how long to measure about; slow networks take longer, five passes at least.
        progress: is told what is done.

    Returns:
        ``card`` is None without one; ``graph`` has totals, tensors and ``operations`` (see
        :class:`crackedge.benchmarks.operations.Operation`); ``time`` is None unless measured: shares of a call on a
        tile, each with the ends of its interval, and all samples.

    Raises:
        ModelError: there is no such file, or it cannot be run here.
        OptionError: fewer than one thread.
    """
    path, data = read_model(name_or_path)
    origin = str(path)
    flatbuffer, card = split_card(data, origin=origin)
    threads = check_threads(threads)
    network = Interpreter(flatbuffer, threads=threads, origin=origin)  # says what is wrong with a file, if anything
    tile = [1, *(size if size > 1 else TILE for size in network.input_shape[1:3]), 3]  # 1: the file leaves it open
    timed: dict[str, Any] | None = None
    try:
        graph, operations = read_graph(flatbuffer, tile, threads=threads)
        if time:
            machine = describe_machine()
            samples_ms = time_cuts(flatbuffer, tile, operations, threads=threads, seconds=seconds, progress=progress)
            shares = time_shares(operations, samples_ms)
            timed = {"machine": machine, "threads": threads, **shares, "samples_ms": samples_ms.tolist()}
    except (ValueError, RuntimeError, struct.error) as error:
        raise ModelError(f"{origin}: {network.runtime} does not run it ({' '.join(str(error).split())})") from error
    return {
        "schema": SCHEMA,
        "file": {"path": origin, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()},
        "card": None if card is None else dataclasses.asdict(card),
        "runtime": network.runtime,
        "graph": {**graph, "operations": [{**dataclasses.asdict(one), "size": one.size} for one in operations]},
        "time": timed,
    }


def format_inspection(result: Mapping[str, Any]) -> str:
    """An inspection as paragraphs and tables for the terminal."""
    file, card = result["file"], result["card"]
    first = f"{file['path']}: {file['bytes'] / 1e6:.2f} MB, sha256 {file['sha256']}"
    said = ["no model card: what it was made of, and how right it is, is not known"] if card is None else _card(card)
    return "\n".join([first, *said, "", *_network(result["graph"]), *_where_time_goes(result)])


def _card(card: Mapping[str, Any]) -> list[str]:
    gsd = card["gsd_mm"]
    about = ["name", "model", "used_for", "photographs", "licence", "source"]
    fit = ["scale", "bias", "cell_scale", "cell_bias"]
    keys = ["n", "n_crack", "accuracy", "precision", "recall", "f1", "false_positive_rate", "auc", "ece"]
    points = [
        [engine, name + " (default)" * (name == card["default"]), *point.values(), *(one[key] for key in fit)]
        for engine, one in card["calibration"].items()
        for name, point in one["operating_points"].items()
    ]
    metrics = [
        [engine, name, *(one.get(key) for key in keys)]
        for engine, sets in card["metrics"].items()
        for name, one in sets.items()
    ]
    by_set = {f"{engine}, {name}": one for engine, sets in card["metrics"].items() for name, one in sets.items()}
    return [
        f"{card['name']} {card['version']}: {card['quantization']}, {card['head']} of {card['backbone']}, "
        f"labels {' and '.join(card['labels'])}, tile {card['tile']} px, stride {card['stride']} px",
        f"sha256 of the network, without the card: {card['sha256']}, checked",
        f"ground sample distance in training: {f'{gsd[0]:g} to {gsd[1]:g} mm a pixel' if gsd else 'not recorded'}",
        f"trained for: {_pairs(card['training'])}",
        *(f"before that: {_pairs(_flat(one))}" for one in card["lineage"]),
        *_table("data sets", about, [[one.get(key) for key in about] for one in card["data_sets"]]),
        *_table("calibration", ["engine", "operating point", "window threshold", "cell threshold", *fit], points),
        *_table("figures", ["engine", "set", *keys], metrics),
        *format_intervals(by_set),
        *format_operating_points({name: one.get("operating_points", {}) for name, one in by_set.items()}),
        *_parity(card["quantization_check"]),
        "",
        f"golden vectors: {'in the card, `crackedge verify` checks them' if card['golden'] else 'none in the card'}",
        f"made with: {_pairs(card['tools'])}",
        f"notes: {card['notes'] or 'none'}",
    ]


def _flat(model: Mapping[str, Any]) -> dict[str, Any]:
    """A model of the lineage, in the order of reading."""
    told = {key: model[key] for key in ("role", "of", "name", "sha256") if key in model}
    return {**told, **model.get("training", {}), "notes": model.get("notes")}


def _parity(check: Mapping[str, Any]) -> list[str]:
    """What the export found when it held the file against the network that it was made of."""
    keys = ["n", "decisions_equal", "mean_abs_logit", "auc", "auc_float32"]
    rows = [
        [engine, name, *(one.get(key) for key in keys)]
        for engine, sets in check.get("sets", {}).items()
        for name, one in sets.items()
    ]
    lines = _table("parity", ["engine", "set, against float32", *keys], rows) if rows else []
    for key, value in check.items():
        if isinstance(value, Mapping) and key != "sets":
            lines += ["", f"{key.replace('_', ' ')}: {_pairs(value)}"]
        elif isinstance(value, list | tuple):
            lines += ["", f"{key.replace('_', ' ')}: {'; '.join(_pairs(one) for one in value)}"]
    plain = {key: value for key, value in check.items() if isinstance(value, str | int | float | None)}
    return [*lines, "", f"against the network that it was made of: {_pairs(plain)}"]


def _table(name: str, header: Sequence[str], rows: Sequence[Sequence[Figure]], *, digits: int = 3) -> list[str]:
    names = [text.replace("_", " ") for text in header]
    return ["", aligned(names, rows, digits=digits) if rows else f"{name}: none in the card"]


def _pairs(values: Mapping[str, Any]) -> str:
    said = [f"{key.replace('_', ' ')} {'none' if value == [] else value}" for key, value in values.items()]
    return ", ".join(said) or "not recorded"


def _network(graph: Mapping[str, Any]) -> list[str]:
    ends = [
        f"{end}: {'x'.join(map(str, graph[end]['shape']))} {graph[end]['dtype']}"
        + (f", scale {graph[end]['scale']:.6g}, zero point {graph[end]['zero_point']}" if graph[end]["scale"] else "")
        for end in ("input", "output")
    ]
    frame = "not for frames" if graph["refused"] else f"{graph['macs_frame'] / 1e6:.0f} M for a 1920x1080 frame"
    return [
        *ends,
        "takes other sizes: " + (f"no ({graph['refused']})" if graph["refused"] else "yes"),
        f"{len(graph['operations'])} operations, {graph['parameters'] / 1e6:.3f} M parameters; multiplications of "
        f"convolutions and dense layers (MACs): {graph['macs'] / 1e6:.1f} M for a tile, {frame}",
    ]


def _where_time_goes(result: Mapping[str, Any]) -> list[str]:
    operations, timed = result["graph"]["operations"], result["time"]
    columns = ["% of time", "from", "to"] if timed else []
    lines: list[str] = []
    for title, key, names in (
        ("operator", "by_kind", [one["kind"] for one in operations]),
        ("output", "by_size", [one["size"] for one in operations]),
    ):
        rows: list[list[Figure]] = []
        for name, numbers in groups(names).items():
            chosen = [operations[number] for number in numbers]
            accelerated, macs = sum(one["accelerated"] for one in chosen), sum(one["macs"] for one in chosen) / 1e6
            rows.append([name, len(chosen), accelerated, macs, *(_percent(timed[key][name]) if timed else [])])
        lines += _table(title, [title, "number", "accelerated", "M MACs", *columns], rows, digits=1)
    if timed:
        order = np.argsort([-one["share"] for one in timed["operations"]]).tolist()
        clear = [number for number in order if _clear(timed["operations"][number])][:_SLOWEST]
        slowest: list[list[Figure]] = [
            [
                f"{number} {operations[number]['kind']}",
                operations[number]["size"],
                *_percent(timed["operations"][number]),
            ]
            for number in clear
        ]
        if slowest:
            lines += _table("slowest", ["slowest operations", "output", *columns], slowest, digits=1)
    left = groups(one["kind"] for one in operations if not one["accelerated"])
    named = ", ".join(f"{len(numbers)} {kind}" for kind, numbers in left.items())
    lines += ["", f"not accelerated, that is, not taken by XNNPACK in {result['runtime']}: {named or 'nothing'}"]
    if not timed:
        return [*lines, "time: not measured"]
    if left:
        ends = timed["not_accelerated"]
        lines[-1] += f"; {ends['low']:.1%} to {ends['high']:.1%} of the time"
    return [
        *lines,
        f"time: {timed['total_ms']:.2f} ms a call on a tile, threads: {timed['threads']}. An operation's share is what "
        "the network cut behind it takes longer than cut before it, by the fastest calls of "
        f"{timed['passes']} passes. From and to: 95 %, by bootstrap over the passes. A dash: in the noise",
        format_machine(timed["machine"]),
    ]


def _percent(share: Mapping[str, float]) -> tuple[float | None, float, float]:
    """Share and ends of its interval in percent; no share where it is in the noise."""
    return 100 * share["share"] if _clear(share) else None, 100 * share["low"], 100 * share["high"]


def _clear(share: Mapping[str, float]) -> bool:
    return share["low"] > share["high"] / 2
