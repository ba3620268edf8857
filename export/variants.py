"""Variants of one model side by side: what each costs on this machine, what each is worth, and which to keep."""

from __future__ import annotations

import html
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crackedge.benchmarks.footage import Footage, scene_frames
from crackedge.benchmarks.intervals import percentile
from crackedge.benchmarks.machine import describe_machine, format_machine
from crackedge.benchmarks.memory import peak_memory_mib
from crackedge.benchmarks.operations import FRAME_HW, read_graph
from crackedge.benchmarks.scenarios import measure
from crackedge.benchmarks.table import Figure, aligned, text
from crackedge.edge_runtime.errors import CrackedgeError, ModelError, ProofError
from crackedge.edge_runtime.lattice import TILE
from crackedge.edge_runtime.models.card import ModelCard
from crackedge.edge_runtime.models.model import open_model
from crackedge.edge_runtime.scan.engine import make_engine

SCHEMA = 1
_SECONDS = 1.0  # of measuring, for a tile and for a frame
_SLOW_TILE_MS = 100.0  # from here on a frame is not timed: it would take minutes


def cost(path: Path) -> dict[str, Any]:
    """What a file costs on this machine, measured in a process of its own; ready to be written as JSON.

    Returns:
        ``tile_ms`` and ``frame_ms`` (median of one 224x224 tile, and of a 1920x1080 frame to its regions; None where
        that takes too long), ``samples`` of each, ``peak_memory_mib`` (of a process that scans one such frame; None
        where the system does not tell), ``accelerated`` (share of the multiplications that the delegate takes),
        ``threads`` and ``runtime``.

    Raises:
        ModelError: it does not run.
    """
    command = [sys.executable, "-m", "crackedge.export.variants", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this very Python
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no message"]
        raise ModelError(f"{path}: could not be measured ({said[-1]})")
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def table(files: Mapping[str, tuple[ModelCard, Path]], failed: Mapping[str, str]) -> dict[str, Any]:
    """All variants side by side; ready to be written as JSON.

    Args:
        files: card and file of each variant that was proven.
        failed: why each of the others was not.
    """
    machine = describe_machine()
    rows = [
        {
            "variant": variant,
            "bytes": path.stat().st_size,
            **cost(path),
            "metrics": card.metrics,
            "agreement": card.quantization_check["sets"],
            "failed": None,
        }
        for variant, (card, path) in files.items()
    ]
    rows += [{"variant": variant, "failed": reason} for variant, reason in failed.items()]
    some = next(iter(files.values()))[0]
    return {
        "schema": SCHEMA,
        "model": some.name,
        "tolerance": some.quantization_check["tolerance"],
        "machine": machine,
        "variants": rows,
    }


def fastest(compared: Mapping[str, Any]) -> str:
    """The proven variant that takes least time for a frame; for a tile, where no frame was timed.

    Raises:
        ProofError: none was proven.
    """
    proven = [one for one in compared["variants"] if one["failed"] is None]
    if not proven:
        raise ProofError("no variant stayed within the tolerance")
    never = float("inf")
    return str(min(proven, key=lambda one: (one["frame_ms"] or never, one["tile_ms"]))["variant"])


def format_table(compared: Mapping[str, Any]) -> str:
    """The comparison as tables for the terminal."""
    blocks = [aligned(*_costs(compared), digits=2)]
    blocks += [f"{title}\n{aligned(header, rows)}" for title, header, rows in _worth(compared)]
    blocks += [f"{one['variant']} failed: {one['failed']}" for one in compared["variants"] if one["failed"]]
    return "\n\n".join([*blocks, f"measured on this machine:\n{format_machine(compared['machine'])}"])


def to_html(compared: Mapping[str, Any]) -> str:
    """The comparison as one page that needs nothing else."""
    name = html.escape(compared["model"])
    parts = [_html_table("Cost on this machine", *_costs(compared), digits=2)]
    parts += [_html_table(title, header, rows) for title, header, rows in _worth(compared)]
    parts += [
        f"<p><b>{html.escape(one['variant'])}</b> failed: {html.escape(one['failed'])}</p>"
        for one in compared["variants"]
        if one["failed"]
    ]
    tolerance = html.escape(json.dumps(compared["tolerance"]))
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Variants of {name}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; }}
table {{ border-collapse: collapse; }} caption {{ text-align: left; font-weight: bold; padding: 1.5em 0 .3em; }}
th, td {{ padding: .2em .8em; border-bottom: 1px solid #ccc; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; }} pre {{ white-space: pre-wrap; }}
</style>
<h1>Variants of {name}</h1>
{"".join(parts)}
<h2>Machine and tolerance</h2>
<pre>{html.escape(format_machine(compared["machine"]))}
{tolerance}</pre>
</html>
"""


def _costs(compared: Mapping[str, Any]) -> tuple[list[str], list[list[Figure]]]:
    header = ["variant", "MB", "tile ms", "frame 1080p ms", "peak MiB", "accelerated"]
    rows: list[list[Figure]] = []
    for one in compared["variants"]:
        if one["failed"]:
            rows.append([one["variant"], *[None] * 5])
        else:
            share = f"{one['accelerated']:.0%}"
            memory = one["peak_memory_mib"]
            rows.append([one["variant"], one["bytes"] / 1e6, one["tile_ms"], one["frame_ms"], memory, share])
    return header, rows


def _worth(compared: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[Figure]]]]:
    """For each engine: accuracy, AUC, and the share of decisions that are the float32 file's, set by set."""
    proven = [one for one in compared["variants"] if one["failed"] is None]
    found = []
    for engine in proven[0]["metrics"] if proven else ():
        sets = list(proven[0]["metrics"][engine])
        for title, source, key in (
            ("accuracy", "metrics", "accuracy"),
            ("AUC", "metrics", "auc"),
            ("decisions as float32's", "agreement", "decisions_equal"),
        ):
            counted = proven[0][source][engine]
            header = ["variant", *(f"{name} (n={counted[name]['n']})" for name in sets)]
            rows = [[one["variant"], *(one[source][engine].get(name, {}).get(key) for name in sets)] for one in proven]
            found.append((f"{title}, {engine}", header, rows))
    return found


def _html_table(title: str, header: Sequence[str], rows: Sequence[Sequence[Figure]], *, digits: int = 3) -> str:
    names = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    cells = [[f"<td>{html.escape(text(figure, digits=digits))}</td>" for figure in row] for row in rows]
    lines = "".join(f"<tr>{''.join(row)}</tr>\n" for row in cells)
    return f"<table><caption>{html.escape(title)}</caption>\n<tr>{names}</tr>\n{lines}</table>\n"


def _measure(path: Path) -> dict[str, Any]:
    """What :func:`cost` gives, measured here and now."""
    model = open_model(path)
    scan = make_engine(model)
    scan(np.full((*FRAME_HW, 3), 127, np.uint8))
    peak = peak_memory_mib()
    _, operations = read_graph(model.flatbuffer, (1, TILE, TILE, 3), threads=scan.threads)
    macs = sum(one.macs for one in operations)
    footage = Footage(scene_frames(), None, "scene")

    def samples_ms(scenario: str) -> list[float]:
        timed = measure(model, footage, scenarios=(scenario,), duration_s=_SECONDS)
        found: list[float] = timed["scenarios"][scenario]["samples_ms"]
        return found

    tile_ms = samples_ms("tile")
    frame_ms = samples_ms("frame") if percentile(tile_ms, 50) < _SLOW_TILE_MS else []
    return {
        "tile_ms": percentile(tile_ms, 50),
        "frame_ms": percentile(frame_ms, 50) if frame_ms else None,
        "samples": {"tile": len(tile_ms), "frame": len(frame_ms)},
        "peak_memory_mib": peak,
        "accelerated": sum(one.macs for one in operations if one.accelerated) / macs if macs else 0.0,
        "threads": scan.threads,
        "runtime": scan.runtime,
    }


if __name__ == "__main__":
    try:
        sys.stdout.write(json.dumps(_measure(Path(sys.argv[1]))))
    except CrackedgeError as error:
        sys.exit(str(error))
