from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="the workstation's packages are not installed")

import keras

from crackedge.benchmarks.evaluation import SetLogits
from crackedge.edge_runtime.errors import ProofError
from crackedge.edge_runtime.models.card import Calibration
from crackedge.export import parity
from crackedge.export.convert import convert, front_of
from crackedge.export.parity import Agreement

DarkNetwork = Callable[..., Any]


def _float32(network: Any) -> bytes:
    return convert(network, variant="float32", head="logit-map", pictures=(), log=lambda _: None)


def _logits(values: Any, labels: Any) -> SetLogits:
    numbers = np.arange(len(values))
    return SetLogits(
        name="a",
        files=tuple(f"{number}.png" for number in numbers),
        window_logits=np.array(values, np.float32),
        window_labels=np.array(labels, np.bool_),
        window_files=numbers,
        window_xy=np.zeros((len(values), 2), np.intp),
        cell_logits=np.zeros(0, np.float32),
        cell_labels=np.zeros(0, np.bool_),
        cell_files=np.zeros(0, np.intp),
        cell_at_border=np.zeros(0, np.bool_),
        cell_beside_crack=np.zeros(0, np.bool_),
    )


def test_a_file_that_computes_something_else_than_keras_is_not_let_through(dark_network: DarkNetwork) -> None:
    network, other = dark_network(), dark_network(gain=4.1)
    flatbuffer = _float32(network)
    same = parity.require_same(network, flatbuffer, head="logit-map", origin="tiny")
    assert same["largest_difference"] < 1e-3
    assert same["pictures"] == 9
    with pytest.raises(ProofError, match=r"tiny: the converted network is up to 0\.0\d+ off what Keras computes"):
        parity.require_same(other, flatbuffer, head="logit-map", origin="tiny")
    other.layers[-1].set_weights([weight * np.nan for weight in other.layers[-1].get_weights()])
    with pytest.raises(ProofError, match=r"tiny: the network gives no numbers \(NaN\): its training diverged"):
        parity.require_same(other, flatbuffer, head="logit-map", origin="tiny")


@pytest.mark.parametrize("variant", ["float32", "int8"])
def test_a_graph_with_a_size_baked_in_cannot_be_a_logit_map(dark_network: DarkNetwork, variant: str) -> None:
    def through_a_list(cells: Any) -> Any:
        return keras.layers.Reshape((7, 7, 3))(keras.layers.Reshape((147,))(keras.layers.CenterCrop(7, 7)(cells)))

    network = dark_network(middle=through_a_list)
    pictures = [np.random.default_rng(1).integers(0, 256, (224, 224, 3), dtype=np.uint8)]
    flatbuffer = convert(network, variant=variant, head="logit-map", pictures=pictures, log=lambda _: None)
    with pytest.raises(
        ProofError, match=r"does not run on .* px, .* a size is baked into its graph.*--head probability"
    ):
        parity.require_any_size(flatbuffer, origin="tiny")


def test_preprocessing_that_is_not_the_networks_is_found_in_the_input_itself(dark_network: DarkNetwork) -> None:
    one, unit = dark_network(scaling="one"), dark_network(scaling="unit")
    pictures = [np.random.default_rng(1).integers(0, 256, (224, 224, 3), dtype=np.uint8)]
    flatbuffer = convert(unit, variant="int8", head="logit-map", pictures=pictures, log=lambda _: None)
    parity.require_front(flatbuffer, front_of(unit, variant="int8", head="logit-map"), origin="tiny")
    for wrong in (
        front_of(one, variant="int8", head="logit-map"),  # the same type, in other steps
        front_of(unit, variant="float32", head="logit-map"),  # bytes as they are
        front_of(unit, variant="int16x8", head="logit-map"),  # another type
        dataclasses.replace(front_of(unit, variant="int8", head="logit-map"), black=-127.0),  # another zero
    ):
        with pytest.raises(
            ProofError,
            match=r"tiny: its input is uint8 in steps of 1 from 0, and by its card .*int.*; take --variants dynamic",
        ):
            parity.require_front(flatbuffer, wrong, origin="tiny")


@pytest.mark.parametrize(
    ("agreement", "fault"),
    [
        (Agreement(100, 0.97, 0.1, 0.90, 0.905), None),
        (Agreement(100, 0.95, 0.1, 0.90, 0.905), "5 of 100 decisions differ, expected at most 4%"),
        (Agreement(1000, 0.98, 0.1, 0.999, 0.999), "20 of 1000 decisions differ, expected at most 1%"),
        (Agreement(12, 1 - 1 / 12, 0.1, 0.9, 0.9), None),  # a single window
        (Agreement(12, 1 - 2 / 12, 0.1, 0.9, 0.9), "2 of 12 decisions differ"),
        (Agreement(100, 1.0, 0.1, 0.88, 0.9), "AUC 0.8800 against 0.9000, expected a loss of at most 0.01"),
        (Agreement(100, 1.0, 0.1, 0.92, 0.9), None),
        (Agreement(100, 1.0, 0.1, None, None), None),
    ],
)
def test_what_is_out_of_tolerance(agreement: Agreement, fault: str | None) -> None:
    if fault is None:
        assert agreement.faults == []
    else:
        (found,) = agreement.faults
        assert found.startswith(fault)


def test_two_files_are_read_by_the_thresholds_of_one_card() -> None:
    labels = [False, False, True, True]
    reference, found = _logits([-2, -0.1, 0.1, 2], labels), _logits([-2, 0.1, -0.1, 2], labels)
    judged = parity.judge(
        b"", {"tiles": [found]}, {"tiles": Calibration(scale=3.0)}, "balanced", reference={"tiles": [reference]}
    )
    agreement = judged.agreements["tiles"]["a"]
    assert agreement.n == 4
    assert agreement.decisions_equal == 0.5
    assert agreement.mean_abs_logit == pytest.approx(0.1)
    assert (agreement.auc, agreement.auc_float32) == (0.75, 1.0)
    assert judged.faults[0].startswith("tiles, a: 2 of 4 decisions differ")
