"""The mean of several runs' networks, which often holds better than each of them on what none was trained on.

It takes runs that went on from one another, or that began with the same weights: Wortsman et al., Model soups, ICML
2022, and Robust fine-tuning of zero-shot models, CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from crackedge.edge_runtime.errors import OptionError
from crackedge.train import run_folder
from crackedge.train.lineage import lineage_of_mean
from crackedge.train.network import read_network


def average(runs: Sequence[Path], folder: Path) -> Path:
    """Leave the mean of some runs' weights in a run folder, to be exported or trained on from.

    Args:
        runs: their folders; recipe, sets and held-out photographs of the mean are those of the last.
        folder: new or empty.

    Raises:
        DataError: one is not the folder of a run.
        OptionError: fewer than two, or networks that are not alike.
        OutputError: the folder cannot be used.
    """
    if len(runs) < 2:
        raise OptionError(f"{len(runs)} run to average: expected two or more")
    run_folder.require_free(folder)
    configs = [run_folder.read_config(run) for run in runs]
    files = [run / run_folder.MODEL for run in runs]
    networks = [read_network(file, role="run") for file in files]
    for file, network in zip(files, networks, strict=True):
        if _form(network) != _form(networks[-1]):
            raise OptionError(
                f"{file}: a network {network.name!r}, and {files[-1]} holds {networks[-1].name!r}, of another form: "
                "only alike ones can be averaged"
            )
    together = zip(*(network.get_weights() for network in networks), strict=True)
    networks[-1].set_weights([np.mean(same, axis=0) for same in together])
    # Without where its data are and what it began with: this is no run that could be resumed.
    of_a_run = ("data_root", "weights_from", "weights_sha256", "training")
    config = {key: value for key, value in configs[-1].items() if key not in of_a_run}
    run_folder.create(folder)
    run_folder.write_model(folder, networks[-1])
    run_folder.write_config(folder, {**config, "lineage": lineage_of_mean(files, sets=config["sets"])})
    return folder


def _form(network: keras.Model) -> tuple[str, list[tuple[int, ...]]]:
    return network.name, [weight.shape for weight in network.get_weights()]
