"""What a file says of the photographs that were held out, and what follows: its calibration and its figures."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from crackedge.benchmarks.card_calibration import figures, fit_calibration, halves
from crackedge.benchmarks.data_sets import LabelledSet
from crackedge.benchmarks.evaluation import SetLogits, collect_logits
from crackedge.edge_runtime.errors import DataError
from crackedge.edge_runtime.models.card import Calibration, ModelCard, append_card
from crackedge.edge_runtime.models.model import open_model
from crackedge.export.parity import Logits

Report = Callable[[str], None]


def collect(flatbuffer: bytes, card: ModelCard, sets: Sequence[LabelledSet], report: Report) -> Logits:
    """The logits of all held-out windows, by each engine that the card's head allows.

    Args:
        flatbuffer: the model part.
        card: says what it is; calibration and figures are not needed yet.
        sets: the photographs.
        report: is told how far it is.

    Raises:
        ModelError: the file does not run.
    """

    def progress(name: str, done: int, total: int) -> None:
        report(f"{card.quantization} on {name}: {done}/{total}")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{card.quantization}.tflite"
        path.write_bytes(append_card(flatbuffer, card))
        model = open_model(path)
    found = {"tiles": collect_logits(model, sets, engine="tiles", progress=progress)}
    if card.head == "logit-map":
        frames = [one for one in sets if one.kind == "masks"]  # the others are single tiles: the same to both engines
        dense = {one.name: one for one in collect_logits(model, frames, engine="dense", progress=progress)}
        found["dense"] = [dense.get(one.name, one) for one in found["tiles"]]
    return found


def calibrate(logits: Logits, fitting: frozenset[str]) -> dict[str, Calibration]:
    """Each engine's calibration, from the first half of the photographs of the sets that are for that.

    Raises:
        DataError: those have no cracks, or nothing but cracks; names them.
    """
    return {
        engine: fit_calibration(_with_both([halves(one)[0] for one in sets if one.name in fitting]))
        for engine, sets in logits.items()
    }


def measure(
    logits: Logits, calibration: Mapping[str, Calibration], fitting: frozenset[str], default: str
) -> dict[str, Any]:
    """Figures for the card, by engine and set: of the halves that gave no calibration, of other sets whole."""
    return {
        engine: figures(
            [halves(one)[1] if one.name in fitting else one for one in sets],
            calibration[engine],
            calibration[engine].operating_points[default],
        )
        for engine, sets in logits.items()
    }


def _with_both(sets: Sequence[SetLogits]) -> Sequence[SetLogits]:
    """The sets, which have windows with cracks and windows without.

    Raises:
        DataError: they have not.
    """
    cracks = sum(int(one.window_labels.sum()) for one in sets)
    others = sum(one.window_labels.size for one in sets) - cracks
    if cracks and others:
        return sets
    what = f"{cracks} windows with cracks, {others} without" if cracks or others else "no window counts"
    folders = " and ".join(f"val/{name}/" for name, count in (("crack", cracks), ("no_crack", others)) if not count)
    unread = [f"{one.name}: {skipped.file}: {skipped.reason}" for one in sets for skipped in one.skipped]
    raise DataError(
        f"{', '.join(one.name for one in sets)}: {what} in the half of the held-out photographs that is for the "
        f"calibration, which needs both: add some to {folders}, or masks that show them"
        f"{f' (not read: {unread[0]})' if unread else ''}"
    )
