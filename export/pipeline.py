"""From a training run to a model file that a robot can trust: convert, compare, calibrate, measure, write."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import numpy.typing as npt

from crackedge.benchmarks.data_sets import LabelledSet, Skipped, find_sets, pictures
from crackedge.benchmarks.evaluation import SetLogits, collect_logits
from crackedge.edge_runtime.card import ModelCard, append_card
from crackedge.edge_runtime.errors import DataError, ModelError, OutputError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.lattice import TILE
from crackedge.edge_runtime.model import Model, open_model
from crackedge.export import parity
from crackedge.export.calibrate import figures, fit_calibration, halves
from crackedge.export.convert import convert

ENGINES = ("tiles", "dense")
_CALIBRATION_TILES = 320
_PARITY_TILES = 400


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote.

    Attributes:
        path: the model file.
        size: its bytes, card included.
        card: its card.
    """

    path: Path
    size: int
    card: ModelCard


def export_run(run_folder: Path, output: Path, **options: Any) -> Exported:
    """Export the network of a training run; for the options see :func:`export_network`.

    Raises:
        DataError: not the folder of a training run.
        ModelError: its network cannot be read.
    """
    try:
        config = json.loads((run_folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{run_folder}: not the folder of a training run ({error}); give what `crackedge train` made"
        ) from error
    return export_network(load_network(run_folder), output, config=config, **options)


def export_network(
    network: keras.Model,
    output: Path,
    *,
    config: dict[str, Any],
    data_root: Path,
    variant: str = "int8",
    name: str | None = None,
    overwrite: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write a network as one ``.tflite`` file with its card inside, proven on validation photographs.

    Args:
        network: ends in the logit map, see :mod:`crackedge.train.network`.
        output: the file to write.
        config: ``config.json`` of the training run.
        data_root: a folder of data sets: ``train`` splits give calibration tiles, ``val`` splits proof and figures.
        variant: ``"int8"`` or ``"float32"``.
        name: of the model; the recipe's unless given.
        overwrite: replace ``output`` if it exists.
        report: called with the name of each stage.

    Raises:
        DataError: no photographs to calibrate or prove with.
        OutputError: the file exists or cannot be written.
        ProofError: the conversion failed, or the file computes something else than the network.
    """
    if output.exists() and not overwrite:
        raise OutputError(f"{output}: exists already; give another -o, or --overwrite")
    if not output.parent.is_dir():
        raise OutputError(f"{output.parent}: no such folder; make it, or give another -o")
    held_out = find_sets(data_root, split="val")
    report("convert")
    ranges = _tiles(_calibration_sets(data_root, held_out, config), _CALIBRATION_TILES)
    flatbuffer = convert(network, variant=variant, calibration=lambda: _pairs(ranges[0]))
    report("compare")
    tiles, labels = _tiles(held_out, _PARITY_TILES)
    same = parity.compare(network, flatbuffer, tiles, labels, origin=str(output))
    parity.require(same, variant, origin=str(output))

    card = _card(config, variant, name or str(config["recipe"]["name"]), same)
    part = output.with_name(f".{output.name}.part")
    try:
        part.write_bytes(append_card(flatbuffer, card))
        card = _measured(open_model(part), card, held_out, _trained(config), report)
        part.write_bytes(append_card(flatbuffer, card))
        card = open_model(part).card
        part.replace(output)
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror or error})") from error
    finally:
        part.unlink(missing_ok=True)
    return Exported(output, output.stat().st_size, card)


def load_network(folder: Path) -> keras.Model:
    """The network of a training run.

    Raises:
        ModelError: there is none, or Keras cannot read it.
    """
    path = folder / "model.keras"
    if not path.is_file():
        raise ModelError(f"{path}: no such file; give the folder that `crackedge train` made")
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, OSError, TypeError, KeyError) as error:
        raise ModelError(
            f"{path}: Keras {keras.__version__} cannot read it ({' '.join(str(error).split())[:200]})"
        ) from error


def _measured(
    model: Model, card: ModelCard, held_out: Sequence[LabelledSet], trained: set[str], report: Callable[[str], None]
) -> ModelCard:
    """The card with calibration and figures.

    Of the sets that were trained on, one half of the held-out photographs gives the calibration and the other the
    figures; the other sets only give figures, whole.
    """
    calibration: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    for engine in ENGINES:
        report(f"calibrate {engine}")
        logits = collect_logits(model, held_out, engine=engine)
        for_fit: list[SetLogits] = []
        for_figures: list[SetLogits] = []
        for one in logits:
            if one.name in trained:
                first, second = halves(one)
                for_fit.append(first)
                for_figures.append(second)
            else:
                for_figures.append(one)
        calibration[engine] = fit_calibration(for_fit or for_figures)
        point = calibration[engine].operating_points[card.default]
        metrics[engine] = figures(for_figures, calibration[engine], point)
    return dataclasses.replace(card, calibration=calibration, metrics=metrics)


def _card(config: dict[str, Any], variant: str, name: str, same: parity.Parity) -> ModelCard:
    recipe = config["recipe"]
    return ModelCard(
        name=name,
        version=str(config.get("version", "1")),
        quantization=variant,
        backbone=f"{recipe['backbone']} alpha {recipe['alpha']:g}",
        data_sets=tuple(
            {
                "name": one["name"],
                "used_for": "training",
                **{key: one[key] for key in ("photographs", "licence", "source")},
            }
            for one in config["sets"]
        ),
        quantization_check=same.as_dict(),
        tools={
            **config.get("tools", {}),
            "crackedge": importlib.metadata.version("crackedge"),
            "tensorflow": importlib.metadata.version("tensorflow"),
        },
        notes="Calibrated on the first half, in the order of names, of the validation photographs of the sets trained "
        "on; their figures are from the second half, those of other sets from all of it. "
        f"Pretrained weights: {config.get('weights')}",
    )


def _calibration_sets(data_root: Path, held_out: list[LabelledSet], config: dict[str, Any]) -> list[LabelledSet]:
    """The sets that the network was trained on, or those held out where only they are at hand."""
    try:
        trained = [one for one in find_sets(data_root, split="train") if one.base_name in _trained(config)]
        return trained or held_out
    except DataError:
        return held_out


def _trained(config: dict[str, Any]) -> set[str]:
    return {one["name"] for one in config["sets"]}


def _tiles(sets: Sequence[LabelledSet], wanted: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """About ``wanted`` windows, evenly over sets and, in each, over its list of files.

    Raises:
        DataError: the sets have no windows.
    """
    tiles: list[Image] = []
    labels: list[bool] = []
    for one in sets:
        share = max(1, wanted // len(sets))
        step = max(1, len(one.items) // share)
        skipped: list[Skipped] = []
        for _, picture in pictures(dataclasses.replace(one, items=one.items[::step]), skipped):
            for window in picture.windows[:1]:
                tiles.append(picture.image[window.y : window.y + TILE, window.x : window.x + TILE])
                labels.append(window.crack)
    if not tiles:
        raise DataError("the data sets hold no usable window; calibration and proof need some")
    return np.stack(tiles), np.array(labels, np.bool_)


def _pairs(tiles: npt.NDArray[np.uint8]) -> Iterator[Image]:
    """Each tile, some of them darker or brighter: a robot's light is not the data set's."""
    for number, tile in enumerate(tiles):
        gain = (1.0, 0.6, 1.0, 1.4)[number % 4]
        yield tile if gain == 1.0 else np.asarray(cv2.convertScaleAbs(tile, alpha=gain), np.uint8)
