"""What a network is made of, counted by hand, and where its time goes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from crackedge.benchmarks.operations import Operation, cut, groups, read_graph, time_cuts, time_shares
from crackedge.edge_runtime.models.card import split_card
from crackedge.edge_runtime.models.interpreter import find_runtime
from crackedge.edge_runtime.models.model import find_model

TILE = [1, 224, 224, 3]


def flatbuffer_of(path: Path) -> bytes:
    return split_card(path.read_bytes(), origin=str(path))[0]


@pytest.fixture(scope="module")
def nano() -> bytes:
    return flatbuffer_of(find_model("nano"))


def test_a_network_counted_by_hand(twins: tuple[bytes, bytes]) -> None:
    totals, operations = read_graph(twins[0], TILE, threads=1)
    assert [(one.kind, one.size, one.macs) for one in operations] == [
        ("CAST", "224x224", 0),
        ("AVERAGE_POOL_2D", "7x7", 0),
        ("CONV_2D 1x1", "7x7", 49 * 16 * 3),
        ("CONV_2D 3x3", "7x7", 49 * 32 * 9 * 16),
        ("CONV_2D 1x1", "7x7", 49 * 1 * 32),
    ]
    assert totals["parameters"] == (16 * 3 + 16) + (32 * 9 * 16 + 32) + (32 + 1)
    assert totals["macs"] == 49 * (48 + 32 * 144 + 32)
    assert totals["macs_frame"] == 34 * 60 * (48 + 32 * 144 + 32)  # 1920x1088, the frame on the lattice
    assert totals["refused"] is None
    assert (totals["input"]["shape"], totals["input"]["dtype"]) == (TILE, "uint8")
    assert (totals["output"]["shape"], totals["output"]["dtype"]) == ([1, 7, 7, 1], "float32")


def test_dense_layers_and_quantisation_count_too(write_model: Callable[..., Path]) -> None:
    totals, operations = read_graph(flatbuffer_of(write_model("classifier", dtype="int8")), TILE, threads=1)
    assert [(one.kind, one.size, one.macs) for one in operations] == [
        ("AVERAGE_POOL_2D", "1x1", 0),
        ("FULLY_CONNECTED", "vector", 3),
        ("LOGISTIC", "vector", 0),
    ]
    assert totals["parameters"] == 3 + 1
    assert (totals["output"]["scale"], totals["output"]["zero_point"]) == (1 / 256, -128)


def test_a_shape_is_no_parameter_and_a_baked_one_is_told(write_model: Callable[..., Path]) -> None:
    """A reshape to (1, 3) behind pooling of 224: a frame has more than one such place."""
    flatbuffer = flatbuffer_of(write_model("classifier", baked_batch=True))
    totals, operations = read_graph(flatbuffer, TILE, threads=1)
    assert "RESHAPE" in [one.kind for one in operations]
    assert totals["parameters"] == 3 + 1
    assert "RESHAPE" in totals["refused"].upper()
    assert totals["macs_frame"] is None


def test_the_shipped_model_is_accelerated_but_for_its_first_operation(nano: bytes) -> None:
    totals, operations = read_graph(nano, TILE, threads=1)
    assert {name: len(numbers) for name, numbers in groups(one.kind for one in operations).items()} == {
        "QUANTIZE": 1,
        "CONV_2D 3x3": 1,
        "DEPTHWISE_CONV_2D 3x3": 17,
        "CONV_2D 1x1": 35,
        "ADD": 10,
    }
    depthwise = next(one for one in operations if one.kind.startswith("DEPTHWISE"))
    assert depthwise.macs == 112 * 112 * 16 * 9
    if find_runtime().label.startswith("ai-edge-litert"):
        assert [one.kind for one in operations if not one.accelerated] == ["QUANTIZE"]
    assert totals["macs_frame"] == pytest.approx(totals["macs"] * 1088 * 1920 / 224**2)


def run(flatbuffer: bytes, image: npt.NDArray[np.uint8], tensor: int) -> npt.NDArray[np.int8]:
    raw = find_runtime().start(flatbuffer, threads=1, delegates=True)
    raw.allocate_tensors()
    raw.set_tensor(raw.get_input_details()[0]["index"], image)
    raw.invoke()
    found: npt.NDArray[np.int8] = raw.get_tensor(tensor)
    return found


def test_cuts_one_after_the_other_are_the_network(nano: bytes) -> None:
    """Behind every addition the cut has the numbers of a cut further on, and the last cut those of the whole."""
    image = np.random.default_rng(3).integers(0, 256, TILE, np.uint8)
    totals, operations = read_graph(nano, TILE, threads=1)
    sums = [(number, one.outputs[0]) for number, one in enumerate(operations, 1) if one.kind == "ADD"]
    for (before, tensor), (behind, later) in itertools.pairwise(sums[:4]):
        early = run(cut(nano, before, [tensor]), image, tensor)
        assert early.std() > 1
        assert (early == run(cut(nano, behind, [tensor, later]), image, tensor)).all()
    last = totals["output"]["index"]
    whole = run(cut(nano, len(operations), [last]), image, last)
    assert (whole == run(nano, image, last)).all()


def test_times_rise_to_that_of_the_whole(nano: bytes) -> None:
    _, operations = read_graph(nano, TILE, threads=1)
    seen: list[str] = []
    samples_ms = time_cuts(nano, TILE, operations[:4], threads=1, seconds=0, progress=seen.append)
    assert samples_ms.shape == (5, 4)
    assert seen[-1] == "timing: pass 5, operation 4 of 4"
    assert samples_ms.min(axis=0)[0] < samples_ms.min(axis=0)[3]


def operations_with(kinds: list[str], *, accelerated: bool = True) -> list[Operation]:
    return [Operation(kind, (0,), (1,), (1, 7, 7, 1), 0, 0, accelerated) for kind in kinds]


def disturbed(ends_ms: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Eight passes on a machine that does other things in a fifth of the time."""
    samples = ends_ms * (1 + 0.01 * rng.standard_normal((8, len(ends_ms))))
    hit: npt.NDArray[np.float64] = samples + (rng.random(samples.shape) < 0.2) * rng.exponential(0.5, samples.shape)
    return hit


def test_shares_are_right_and_their_intervals_hold_on_a_busy_machine() -> None:
    rng = np.random.default_rng(5)
    names = ["a"] * 17 + ["b"] * 35 + ["nothing"] * 10
    truth = {"a": 0.6, "b": 0.4, "nothing": 0.0}
    order = rng.permutation(len(names)).tolist()
    operations = operations_with([names[number] for number in order])
    ends = np.cumsum([truth[one.kind] / names.count(one.kind) for one in operations])
    held: list[bool] = []
    for _ in range(20):
        shares = time_shares(operations, disturbed(ends, rng))
        for kind in ("a", "b"):
            found = shares["by_kind"][kind]
            held.append(found["low"] <= truth[kind] <= found["high"])
            assert found["share"] == pytest.approx(truth[kind], abs=0.1)
            assert found["low"] > found["high"] / 2
        nothing = shares["by_kind"]["nothing"]
        assert nothing["low"] <= nothing["high"] / 2
        assert sum(one["share"] for one in shares["operations"]) == pytest.approx(1)
    assert np.mean(held) >= 0.85


def test_what_no_delegate_took_is_summed() -> None:
    operations = operations_with(["a"], accelerated=False) + operations_with(["b"])
    shares = time_shares(operations, np.array([[1.0, 4.0]] * 5))
    assert shares["not_accelerated"] == {"share": 0.25, "low": 0.25, "high": 0.25}
    assert (shares["total_ms"], shares["passes"]) == (4.0, 5)
    nothing = time_shares(operations_with(["a", "b"]), np.array([[1.0, 4.0]] * 5))
    assert nothing["not_accelerated"]["high"] == 0
