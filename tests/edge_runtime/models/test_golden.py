from __future__ import annotations

import copy
import dataclasses
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackedge.edge_runtime.errors import ModelError
from crackedge.edge_runtime.models import golden
from crackedge.edge_runtime.models.card import ModelCard, append_card, split_card
from crackedge.edge_runtime.models.interpreter import Interpreter
from crackedge.edge_runtime.models.model import open_model, shipped_models

Card = Callable[..., ModelCard]
WriteModel = Callable[..., Path]
Wrong = Callable[[Callable[..., Any]], None]


@pytest.fixture
def proven(write_model: WriteModel, card: Card) -> Callable[..., Path]:
    """``proven(kind, **options)``: a small model with golden vectors in its card."""

    def write(kind: str = "logit-map-int8", *, quantised: bool = True, **options: Any) -> Path:
        flatbuffer = write_model(kind, **options).read_bytes()
        proof = golden.record(flatbuffer, quantised=quantised, origin=kind)
        head = "probability" if kind == "classifier" else "logit-map"
        return write_model(kind, card=card(head=head, golden=proof), **options)

    return write


@pytest.fixture
def tampered(proven: Callable[..., Path]) -> Callable[[Callable[[dict[str, Any]], object]], Path]:
    """A model whose golden vectors somebody changed: ``tampered(change)``."""

    def write(change: Callable[[dict[str, Any]], object]) -> Path:
        path = proven()
        flatbuffer, card = split_card(path.read_bytes(), origin="x")
        assert card is not None
        other = copy.deepcopy(dict(card.golden))
        change(other)
        path.write_bytes(append_card(flatbuffer, dataclasses.replace(card, golden=other)))
        return path

    return write


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        open_model(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
    return str(caught.value).removeprefix(f"{path}: ")


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 70), st.integers(1, 70), st.data())
def test_the_picture_is_what_the_formula_in_the_card_says(
    seed: int, height: int, width: int, data: st.DataObject
) -> None:
    image = golden.picture(seed, height, width)
    assert image.shape == (height, width, 3)
    for _ in range(5):
        names = {
            "x": data.draw(st.integers(0, width - 1)),
            "y": data.draw(st.integers(0, height - 1)),
            "channel": data.draw(st.integers(0, 2)),
            "seed": seed,
        }
        place = names["y"], names["x"], names["channel"]
        exec(golden.FORMULA, {"abs": abs}, names)
        assert image[place] == names["value"]


def test_the_largest_picture_of_a_card_still_follows_the_formula() -> None:
    image = golden.picture(1000, 32, 8192)
    names: dict[str, int] = {"x": 8191, "y": 31, "channel": 2, "seed": 1000}
    exec(golden.FORMULA, {"abs": abs}, names)
    assert image[31, 8191, 2] == names["value"]


@pytest.mark.parametrize("size", [(224, 224), (256, 352)])
def test_the_pictures_have_light_and_dark_lines_and_grain(size: tuple[int, int]) -> None:
    image = golden.picture(1, *size).astype(int)
    assert image.min() < 60
    assert image.max() > 180
    grain = np.abs(np.diff(image, axis=1)).reshape(size[0], -1).mean(axis=0)
    assert 3 * grain.min() < grain.max()


def test_what_a_network_gave_is_what_it_must_give(proven: Callable[..., Path]) -> None:
    model = open_model(proven())
    proof = model.card.golden
    assert proof["unit"] == "output steps"
    assert proof["tolerance"] == {"max": 2, "mean": 0.5}
    assert proof["formula"] == golden.FORMULA
    assert [(one["height"], one["width"]) for one in proof["vectors"]] == [(224, 224), (256, 352)]
    assert [[len(kernels) for kernels in one["outputs"]] for one in proof["vectors"]] == [[49, 49], [88, 88]]
    assert all(type(number) is int for one in proof["vectors"] for number in one["outputs"][0])
    assert all(len(set(one["outputs"][0])) > 5 for one in proof["vectors"])
    network = Interpreter(model.flatbuffer, threads=1, origin="tiny")
    network.resize(1, 224, 224)
    network.input()[0] = golden.picture(1, 224, 224)
    assert proof["vectors"][0]["outputs"][0] == np.rint(network.invoke().ravel() / network.output_step).tolist()


@pytest.mark.parametrize("name", ["tiny", *shipped_models()])
def test_every_number_of_threads_and_both_families_of_kernels_pass(name: str, tiny_model: Path) -> None:
    model = open_model(tiny_model if name == "tiny" else name)
    proof = golden.record(model.flatbuffer, quantised=True, origin=name)
    card = dataclasses.replace(model.card, golden=proof)
    for threads in (1, 2, 3):
        network = Interpreter(model.flatbuffer, threads=threads, origin=name)
        found = golden.compare(card, network, origin=name)
        assert [one.within for one in found] == [True, True]
        golden.check(card, network, origin=name)
    built_in = golden.compare(card, Interpreter(model.flatbuffer, threads=1, origin=name, delegates=False), origin=name)
    assert [one.largest for one in built_in] == [0, 0]


def test_floats_are_told_to_six_digits_and_pass(proven: Callable[..., Path]) -> None:
    proof = open_model(proven("logit-map-float", quantised=False)).card.golden
    assert proof["unit"] == "logits"
    assert proof["tolerance"] == {"max": 1e-3, "mean": 1e-3}
    assert len(proof["kernels"]) == 1
    numbers = proof["vectors"][1]["outputs"][0]
    assert numbers == [round(number, 6) for number in numbers]
    assert len(set(numbers)) > 5


def test_floats_over_integers_may_differ_by_their_spread(proven: Callable[..., Path]) -> None:
    proof = open_model(proven("logit-map-float", quantised=True)).card.golden
    spread = max(np.std(one["outputs"]) for one in proof["vectors"])
    assert proof["tolerance"] == pytest.approx({"max": spread, "mean": spread / 10}, abs=1e-3)


@pytest.mark.parametrize(("dtype", "limits"), [("int8", (2, 0.5)), ("uint8", (2, 0.5)), ("int16", (64, 16))])
def test_finer_steps_may_be_missed_by_more_of_them(dtype: str, limits: tuple[float, float]) -> None:
    network: Any = SimpleNamespace(output_step=0.1, output_dtype=np.dtype(dtype))
    assert golden._limits(network, True, 0.0) == limits


@pytest.mark.parametrize("options", [{}, {"dtype": "int8"}, {"columns": 2, "logits": True}])
def test_classifiers_prove_themselves_on_single_tiles(
    write_model: WriteModel, card: Card, options: dict[str, Any], wrong_interpreter: Wrong
) -> None:
    flatbuffer = write_model("classifier", **options).read_bytes()
    proof = golden.record(flatbuffer, quantised=False, origin="tiles")
    assert [(one["height"], one["width"]) for one in proof["vectors"]] == [(224, 224)] * 3
    proven = card(head="probability", golden=proof)
    golden.check(proven, Interpreter(flatbuffer, threads=2, origin="tiles"), origin="tiles")
    wrong_interpreter(lambda output, _: output + 3)
    with pytest.raises(ModelError, match="computes this model wrongly"):
        golden.check(proven, Interpreter(flatbuffer, threads=2, origin="tiles"), origin="tiles")


def _one_cell(output: npt.NDArray[Any], _: int) -> npt.NDArray[Any]:
    output = output.copy()
    output.flat[3] += 3
    return output


@pytest.mark.parametrize(
    "wrong",
    [
        lambda output, _: output + 1,  # small everywhere
        _one_cell,  # large in one cell
        lambda output, _: np.zeros_like(output),
        lambda output, _: output[:, ::-1],
        lambda output, _: output[:, :, ::-1] // 2,
    ],
)
def test_an_interpreter_that_computes_wrongly_is_refused(
    proven: Callable[..., Path], wrong_interpreter: Wrong, wrong: Callable[..., Any]
) -> None:
    path = proven()
    wrong_interpreter(wrong)
    message = refused(path)
    assert message.startswith("ai-edge-litert ")
    assert "on 1 thread computes this model wrongly: its golden outputs of 224x224 px are missed by up to " in message
    assert "output steps" in message
    assert "(allowed 2 and 0.5)" in message
    assert "upgrade the interpreter or install another" in message


def test_an_interpreter_that_rounds_a_few_cells_otherwise_is_not(
    proven: Callable[..., Path], wrong_interpreter: Wrong
) -> None:
    def now_and_then(output: npt.NDArray[Any], _: int) -> npt.NDArray[Any]:
        output = output.copy()
        output.flat[::5] += 2
        return output

    path = proven()
    wrong_interpreter(now_and_then)
    assert open_model(path).name == "tiny"


def test_floats_that_are_off_are_refused(proven: Callable[..., Path], wrong_interpreter: Wrong) -> None:
    path = proven("logit-map-float", quantised=False)
    wrong_interpreter(lambda output, _: output * np.float32(1 + 5e-4))
    assert open_model(path)
    wrong_interpreter(lambda output, _: output * np.float32(1.002))
    assert "logits" in refused(path)


def test_a_network_of_another_shape_is_refused(proven: Callable[..., Path], wrong_interpreter: Wrong) -> None:
    path = proven()
    wrong_interpreter(lambda output, _: output[:, :5])
    assert "gave 35 outputs for 224x224 px, expected 49" in refused(path)


def test_a_card_without_golden_vectors_loads_as_ever(tiny_model: Path, wrong_interpreter: Wrong) -> None:
    wrong_interpreter(lambda output, _: output + 5)
    model = open_model(tiny_model)
    assert golden.compare(model.card, Interpreter(model.flatbuffer, threads=1, origin="x"), origin="x") == []


def test_a_golden_vector_that_was_changed_is_refused(tampered: Callable[..., Path]) -> None:
    def change(proof: dict[str, Any]) -> None:
        for kernels in proof["vectors"][1]["outputs"]:
            kernels[40] += 3

    assert "its golden outputs of 352x256 px are missed by up to 3 output steps, 0.0341 on average" in refused(
        tampered(change)
    )


def _first(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda proof: proof["vectors"][0].update(changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_first(height=10**9, width=10**9), "size 1000000000x1000000000 px"),
        (_first(height=32_000_000, width=32), "size 32x32000000 px"),
        (_first(height=225), "size 224x225 px"),
        (_first(width=0), "size 0x224 px"),
        (_first(width=-224, height=-224), "size -224x-224 px"),
        (_first(width=224.0), "seed and size"),
        (_first(width="224"), "seed and size"),
        (_first(height=True), "seed and size"),
        (_first(seed=10**12), "seed 1000000000000, expected 0 to 1000"),
        (_first(seed=-1), "seed -1"),
        (_first(outputs=[[1] * 49]), "[49] outputs for 224x224 px, expected [49, 49]"),
        (_first(outputs=[[1] * 48] * 2), "[48, 48] outputs"),
        (_first(outputs=[[float("nan")] * 49] * 2), "outputs that are not numbers"),
        (_first(outputs=[[float("inf")] * 49] * 2), "outputs that are not numbers"),
        (_first(outputs=[[10**400] * 49] * 2), "too large"),
        (_first(outputs=["1" * 49] * 2), "outputs that are not numbers"),
        (_first(outputs=[["a\nb"] * 49] * 2), "could not convert"),
        (_first(outputs=[[[1]] * 49] * 2), "outputs that are not numbers"),
        (_first(outputs=5), "not iterable"),
        (lambda proof: proof.update(vectors=proof["vectors"] * 5), "10 vectors, expected 1 to 8"),
        (lambda proof: proof.update(vectors=[]), "0 vectors"),
        (lambda proof: proof.update(vectors=["x"]), "indices must be"),
        (lambda proof: proof.update(kernels=["x"] * 50), "50 kernels"),
        (lambda proof: proof.update(unit="logits"), "unit 'logits', and the network's output is in output steps"),
        (lambda proof: proof.update(tolerance={"max": float("inf"), "mean": 1}), "tolerance inf"),
        (lambda proof: proof.update(tolerance={"max": float("nan"), "mean": 1}), "tolerance nan"),
        (lambda proof: proof.update(tolerance=2), "not subscriptable"),
        (lambda proof: proof.pop("vectors"), "'vectors'"),
    ],
)
def test_what_no_exporter_wrote_is_refused_at_no_cost(
    tampered: Callable[..., Path], change: Callable[[dict[str, Any]], object], said: str
) -> None:
    path = tampered(change)
    tracemalloc.start()
    try:
        message = refused(path)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert message.startswith("its golden vectors are malformed (")
    assert said in message
    assert message.endswith("; export the model again")
    assert peak_bytes < 10_000_000


def test_another_formula_asks_for_another_crackedge(tampered: Callable[..., Path]) -> None:
    path = tampered(lambda proof: proof.update(formula="value = __import__('os').abort()"))
    assert refused(path).endswith("upgrade crackedge")
