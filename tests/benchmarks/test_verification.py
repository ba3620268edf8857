from __future__ import annotations

import dataclasses
import functools
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crackedge.benchmarks.data_sets import find_sets
from crackedge.benchmarks.evaluation import evaluate
from crackedge.benchmarks.footage import scene_frames
from crackedge.benchmarks.verification import SAME_WINDOWS, format_verification, verify
from crackedge.edge_runtime.errors import ModelError, OptionError
from crackedge.edge_runtime.models import golden
from crackedge.edge_runtime.models.card import append_card, split_card
from crackedge.edge_runtime.models.model import open_model

Wrong = Callable[[Callable[..., Any]], None]
Crackedge = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def scene_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crackedge.benchmarks.verification.scene_frames", _scene_frames)


_scene_frames = functools.cache(scene_frames)


@pytest.fixture
def proven(context_model: Path, tmp_path: Path) -> Path:
    """A float logit map with golden vectors, whose cells see their neighbours."""
    path = tmp_path / "m.tflite"
    path.write_bytes(context_model.read_bytes())
    return _recorded(path)


def _recorded(path: Path) -> Path:
    flatbuffer, card = split_card(path.read_bytes(), origin="x")
    assert card is not None
    return _with(path, golden=golden.record(flatbuffer, quantised=card.quantization == "int8", origin="x"))


def _with(path: Path, **changes: Any) -> Path:
    flatbuffer, card = split_card(path.read_bytes(), origin="x")
    assert card is not None
    path.write_bytes(append_card(flatbuffer, dataclasses.replace(card, **changes)))
    return path


def _names(result: dict[str, Any], *, passed: bool) -> list[str]:
    return [one["name"] for one in result["checks"] if one["passed"] is passed]


def test_a_file_that_computes_what_it_should(proven: Path) -> None:
    result = verify(proven, threads=2)
    assert result["passed"]
    assert _names(result, passed=False) == []
    assert _names(result, passed=True) == [
        "file",
        "card",
        *(f"golden {size}, {threads}" for threads in ("1 thread", "2 threads") for size in ("224x224", "352x256")),
        "frame 1920x1080",
        "cut of the frame",
        "tiles and dense",
    ]
    assert result["threads"] == [1, 2]
    assert result["runtime"].startswith("ai-edge-litert ")
    assert json.loads(json.dumps(result)) == result
    text = format_verification(result)
    assert result["machine"]["fingerprint"] in text
    assert result["runtime"] in text
    assert re.search(r"off by \S+ logits, \S+ on average \(allowed 0.001, 0.001\), recorded with ai-edge-litert", text)
    assert "34x60 cells; 1 thread and 2 threads differ by 0 logits" in text


def test_a_classifier_proves_its_golden_vectors(write_model: Callable[..., Path], card: Callable[..., Any]) -> None:
    path = write_model("classifier", card=card(head="probability", quantization="float32"))
    result = verify(_recorded(path), threads=1)
    assert result["passed"]
    assert _names(result, passed=True) == ["file", "card", *["golden 224x224, 1 thread"] * 3]


def test_a_file_without_golden_vectors_is_not_proven(context_model: Path) -> None:
    result = verify(context_model, threads=1)
    assert not result["passed"]
    assert result["checks"][-1]["found"] == "its card has no golden vectors; export the model again"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:1000] + bytes([data[1000] ^ 1]) + data[1001:], "sha256 is not the one in its card"),
        (lambda data: data[:-10], "its model card is cut off"),
        (lambda data: split_card(data, origin="x")[0], "no model card, so nothing is proven"),
    ],
)
def test_a_damaged_file_is_not_proven(proven: Path, damage: Callable[[bytes], bytes], said: str) -> None:
    data = proven.read_bytes()
    proven.write_bytes(damage(data) if len(data) > 1001 else data)
    result = verify(proven, threads=1)
    assert not result["passed"]
    assert said in result["checks"][-1]["found"]
    assert "not run" in format_verification(result)


def test_a_wrong_interpreter_is_told_and_nothing_is_built_on_it(proven: Path, wrong_interpreter: Wrong) -> None:
    wrong_interpreter(lambda output, threads: output + np.float32(0.1))
    result = verify(proven, threads=1)
    assert _names(result, passed=True) == ["file", "card"]
    assert _names(result, passed=False) == ["golden 224x224, 1 thread", "golden 352x256, 1 thread"]
    assert "computes this model wrongly" in result["checks"][-1]["found"]


def test_an_interpreter_that_errs_on_several_threads_only(proven: Path, wrong_interpreter: Wrong) -> None:
    wrong_interpreter(lambda output, threads: output if threads == 1 else output[:, ::-1])
    assert open_model(proven)
    assert _names(verify(proven, threads=2), passed=False) == ["golden 224x224, 2 threads", "golden 352x256, 2 threads"]


def test_an_interpreter_that_errs_on_large_frames_only(proven: Path, wrong_interpreter: Wrong) -> None:
    def wrong(output: Any, threads: int) -> Any:
        return output if output.size < 1000 else np.roll(output, 7, axis=2)

    wrong_interpreter(wrong)
    assert _names(verify(proven, threads=1), passed=False) == ["cut of the frame"]


def test_an_interpreter_that_errs_on_batches_only(proven: Path, wrong_interpreter: Wrong) -> None:
    def wrong(output: Any, threads: int) -> Any:
        return output if len(output) == 1 else output[::-1]

    wrong_interpreter(wrong)
    assert _names(verify(proven, threads=1), passed=False) == ["tiles and dense"]


def test_figures_stand_beside_the_cards(proven: Path, photographs: Path) -> None:
    sets = find_sets(photographs)
    measured = evaluate(open_model(proven), sets, engine="dense")
    figures = {name: {"n": one["n"], **one["metrics"]} for name, one in measured["sets"].items()}
    tiles = figures["tiles"]
    _with(proven, metrics={"dense": {"tiles": {**tiles, "auc": tiles["auc"] - 0.5 * SAME_WINDOWS}}})
    result = verify(proven, sets=sets, threads=1)
    assert result["passed"]
    told = result["data"]["sets"]
    assert told["tiles"]["figures"]["accuracy"]["found"] == told["tiles"]["figures"]["accuracy"]["card"]
    assert told["tiles"]["figures"]["auc"]["allowed"] == SAME_WINDOWS
    assert "the card has no figures of this set" in format_verification(result)

    _with(proven, metrics={"dense": {"tiles": {**tiles, "accuracy": tiles["accuracy"] - 0.2}}})
    assert _names(verify(proven, sets=sets, threads=1), passed=False) == ["figures of tiles"]

    half = {**tiles, "n": 6, "n_crack": 3, "n_no_crack": 3, "accuracy": tiles["accuracy"] - 0.2}
    _with(proven, metrics={"dense": {"tiles": half}})
    assert verify(proven, sets=sets, threads=1)["passed"], "six windows cannot tell that from chance"


def test_what_cannot_be_looked_at_is_an_error(tmp_path: Path, proven: Path) -> None:
    with pytest.raises(ModelError, match="no such model file"):
        verify(tmp_path / "absent.tflite")
    foreign, cut = tmp_path / "foreign.tflite", tmp_path / "cut.tflite"
    foreign.write_bytes(b"GIF89a" + bytes(100))
    cut.write_bytes(proven.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"foreign\.tflite: not a TFLite file"):
        verify(foreign)
    with pytest.raises(ModelError, match=r"cut\.tflite: .* cannot read it"):
        verify(cut)
    with pytest.raises(OptionError, match="threads 0"):
        verify(proven, threads=0)


def test_the_command_exits_with_5_when_a_proof_fails(proven: Path, crackedge: Crackedge, tmp_path: Path) -> None:
    done = crackedge("verify", str(proven), "--threads", "1", "--json", str(tmp_path / "proof.json"))
    assert done.returncode == 0, done.stderr
    assert "golden 224x224, 1 thread" in done.stdout
    assert json.loads((tmp_path / "proof.json").read_text())["passed"]
    _with(proven, golden={})
    done = crackedge("verify", str(proven), "--json", str(tmp_path / "proof.json"))
    assert done.returncode == 5
    assert done.stderr == (
        f"crackedge: {proven}: not proven here: golden: its card has no golden vectors; export the model again\n"
    )
    assert not json.loads((tmp_path / "proof.json").read_text())["passed"]
