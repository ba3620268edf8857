"""The mean of several networks' weights, which often holds better than each of them on what none was trained on.

It takes runs that went on from one another, or that began with the same weights; and beside runs the ``.tflite`` file
that they went on from: Wortsman et al., Model soups, ICML 2022, and Robust fine-tuning of zero-shot models, CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import keras
import numpy as np

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.models.model import find_model, shipped_models
from crackedge.train import run_folder
from crackedge.train.lineage import file_sha256, lineage, lineage_of_mean
from crackedge.train.network import build_network, read_network


def average(sources: Sequence[Path], folder: Path) -> Path:
    """Leave the mean of some networks' weights in a run folder, to be exported or trained on from.

    Args:
        sources: folders of runs, one at least; and ``.tflite`` files or names of shipped models that all those runs
            went on from. Recipe, sets and held-out photographs of the mean are those of the last run.
        folder: new or empty.

    Raises:
        DataError: one is not the folder of a run.
        ModelError: a ``.tflite`` file is damaged.
        OptionError: fewer than two, no run among them, a file that a run did not go on from, networks that are not
            alike, or runs that have not grown from the same weights.
        OutputError: the folder cannot be used.
    """
    if len(sources) < 2:
        raise OptionError(f"{len(sources)} run to average: expected two or more")
    run_folder.require_free(folder)
    found = [find_model(str(one)) if str(one) in shipped_models() else one for one in sources]
    runs = {one: run_folder.read_config(one) for one in found if one.suffix != ".tflite"}
    if not runs:
        raise OptionError(f"{found[-1]}: expected a run too that went on from it, a folder that `crackedge train` made")
    last = runs[[one for one in found if one in runs][-1]]
    files = [one / run_folder.MODEL if one in runs else one for one in found]
    networks = [
        read_network(file, role="run") if file.suffix == ".keras" else _behind(file, runs, last) for file in files
    ]
    for file, network in zip(files, networks, strict=True):
        if _form(network) != _form(networks[-1]):
            raise OptionError(
                f"{file}: a network {network.name!r}, and {files[-1]} holds {networks[-1].name!r}, of another form: "
                "only alike ones can be averaged"
            )
    _require_one_origin(runs)
    together = zip(*(network.get_weights() for network in networks), strict=True)
    networks[-1].set_weights([np.mean(same, axis=0) for same in together])
    # Without where its data are and what it began with: this is no run that could be resumed.
    of_a_run = ("data_root", "weights_from", "weights_sha256", "training")
    config = {key: value for key, value in last.items() if key not in of_a_run}
    run_folder.create(folder)
    run_folder.write_model(folder, networks[-1])
    run_folder.write_config(folder, {**config, "lineage": lineage_of_mean(files, sets=config["sets"])})
    return folder


def _behind(file: Path, runs: Mapping[Path, Mapping[str, Any]], last: Mapping[str, Any]) -> keras.Model:
    """The network of a ``.tflite`` file, in the very form in which the runs that went on from it have it."""
    beginning = lineage(str(file), "").models[0]
    for run, config in runs.items():
        if beginning["sha256"] not in _grown_from(config.get("lineage", {}).get("models", ())):
            raise OptionError(
                f"{file}: {run} did not go on from it (--weights {file}); weights that have not grown from the same "
                "ones cannot be averaged"
            )
    return build_network(run_folder.recipe_of(last), weights=file)


def _require_one_origin(runs: Mapping[Path, Mapping[str, Any]]) -> None:
    """Refuse runs of which one did not go on from the other, nor both from the same weights.

    Raises:
        OptionError: there are such; random weights are never the same.
    """
    origins = {run: _origins(run / run_folder.MODEL, config) for run, config in runs.items()}
    for first, second in combinations(runs, 2):
        if not origins[first] & origins[second]:
            raise OptionError(
                f"{first}: {second} did not go on from it (--weights {first / run_folder.MODEL}), nor did both begin "
                "with one file; weights that have not grown from the same ones cannot be averaged"
            )


def _origins(file: Path, config: Mapping[str, Any]) -> set[Any]:
    """What tells a run's weights and those that they have grown from: sha256, or ``imagenet``; nothing if random."""
    before = config["lineage"]["models"] if "lineage" in config else lineage(str(file), "").models
    begun = config.get("weights_sha256") or config.get("weights_from")
    return {file_sha256(file), begun, *_grown_from(before)} - {None}


def _grown_from(lineage: Iterable[Mapping[str, Any]]) -> set[Any]:
    """sha256 of the networks whose weights a run's have grown from: none that taught it, nor what those came from.

    Args:
        lineage: of the run, as in its ``config.json``: behind each model stands what came before it.
    """
    found = set()
    grown: dict[Any, bool] = {None: True}  # by name, of two alike the last; None is the run itself
    for one in lineage:
        grown[one.get("name")] = one.get("role") in ("weights", "averaged") and grown.get(one.get("of"), False)
        if grown[one.get("name")]:
            found.add(one.get("sha256"))
    return found


def _form(network: keras.Model) -> tuple[str, list[tuple[int, ...]]]:
    return network.name, [weight.shape for weight in network.get_weights()]
