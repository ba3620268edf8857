"""What `info` says of files with a card and without, and of files that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from crackedge.benchmarks.inspection import format_inspection, inspect_model
from crackedge.edge_runtime.errors import ModelError, OptionError
from crackedge.edge_runtime.models.card import ModelCard


def test_a_file_with_a_card(tiny_model: Path) -> None:
    result = inspect_model(tiny_model, seconds=0, threads=1)
    assert json.loads(json.dumps(result, allow_nan=False))["schema"] == 1
    assert result["card"]["name"] == "tiny"
    assert [one["kind"] for one in result["graph"]["operations"]] == ["AVERAGE_POOL_2D", "QUANTIZE", "CONV_2D 1x1"]
    assert result["time"]["threads"] == 1
    assert len(result["time"]["samples_ms"]) == result["time"]["passes"] == 5
    text = format_inspection(result)
    for words in (
        "tiny 1: int8, logit-map of mean of each cell",
        f"sha256 {result['file']['sha256']}",
        "CC0",
        "high-recall",
        "balanced (default)",
        "input: 1x224x224x3 uint8, scale 0.00784314, zero point 128",
        "takes other sizes: yes",
        "3 operations, 0.000 M parameters",
        "not accelerated, that is, not taken by XNNPACK in",
        "5 passes",
        result["time"]["machine"]["fingerprint"],
    ):
        assert words in text


def test_a_file_without_a_card_and_without_timing(write_model: Callable[..., Path]) -> None:
    """A float classifier whose input range nobody told: enough to look at it."""
    path = write_model("classifier", dtype="float32", columns=2)
    result = inspect_model(path, time=False)
    assert result["card"] is None
    assert result["time"] is None
    text = format_inspection(result)
    assert "no model card" in text
    assert "output: 1x2 float32\n" in text
    assert "time: not measured" in text
    assert "% of time" not in text


def test_tiles_of_another_size_and_a_baked_batch(write_model: Callable[..., Path]) -> None:
    result = inspect_model(write_model("classifier", edge=96, baked_batch=True), time=False)
    assert result["graph"]["input"]["shape"] == [1, 96, 96, 3]
    assert "takes other sizes: no (" in format_inspection(result)


def test_the_shipped_model_without_timing() -> None:
    text = format_inspection(inspect_model("nano", time=False))
    assert "64 operations" in text
    assert "sdnet_walls" in text
    assert "decisions equal" in text


def test_a_card_s_intervals_and_rates_at_each_operating_point(
    write_model: Callable[..., Path], card: Callable[..., ModelCard]
) -> None:
    figures = {"n": 9, "accuracy": 0.9, "accuracy_interval": [0.75, 0.9637], "auc_interval": None}
    points = {"balanced": {"recall": 0.8125, "false_positive_rate": 0.0625}}
    metrics = {"dense": {"walls": {**figures, "operating_points": points}, "older": {"n": 3, "accuracy": 1.0}}}
    path = write_model("logit-map-float", card=card(metrics=metrics))
    text = format_inspection(inspect_model(path, time=False))
    assert "0.750 to 0.964" in text
    assert "balanced: recall" in text
    rows = [line.split() for line in text.splitlines() if line.startswith("dense, walls")]
    assert rows[-1] == ["dense,", "walls", "0.812", "0.062"]


def test_a_card_of_bare_bones(write_model: Callable[..., Path], card: Callable[..., ModelCard]) -> None:
    bare = card(calibration={}, metrics={}, data_sets=(), tools={}, golden={"inputs": 3})
    text = format_inspection(inspect_model(write_model("logit-map-float", card=bare), time=False))
    for words in ("data sets: none", "calibration: none", "figures: none", "in the card"):
        assert words in text


def test_a_card_with_an_export_s_evidence(write_model: Callable[..., Path], card: Callable[..., ModelCard]) -> None:
    agreement = {"n": 40, "decisions_equal": 0.975, "mean_abs_logit": 0.1, "auc": None, "auc_float32": 0.9}
    check = {
        "tolerance": {"auc_loss": 0.01},
        "calibrated_on": "first half of metu",
        "measures": [{"measure": "80 calibration pictures", "faults": []}],
        "worst_layers": [{"layer": "block_1_expand", "steps": 0.4}, {"layer": "block_2_expand", "steps": 0.3}],
        "sets": {"dense": {"metu": agreement}},
    }
    proven = card(quantization_check=check)
    text = format_inspection(inspect_model(write_model("logit-map-int8", card=proven), time=False))
    (line,) = (line for line in text.splitlines() if line.split()[:2] == ["dense", "metu"])
    assert line.split()[2:] == ["40", "0.975", "0.100", "-", "0.900"]
    for words in (
        "tolerance: auc loss 0.01",
        "measures: faults none, measure 80 calibration pictures",
        "worst layers: layer block_1_expand, steps 0.4; layer block_2_expand, steps 0.3",
        "against the network that it was made of: calibrated on first half of metu\n",
    ):
        assert words in text


def test_a_card_with_a_lineage(write_model: Callable[..., Path], card: Callable[..., ModelCard]) -> None:
    models = (
        {"role": "weights", "name": "nano", "sha256": "ab", "training": {"steps": 7500}, "notes": "from ImageNet"},
        {"role": "teacher", "of": "nano", "name": "large", "sha256": "cd", "notes": "no card"},
    )
    sets = ({"name": "quay", "model": "nano", "used_for": "training", "licence": "CC BY-SA 4.0", "source": "s"},)
    grown = card(lineage=models, data_sets=sets, training={"epochs": 3, "wall_s": 60}, gsd_mm=(0.2, 0.5))
    text = format_inspection(inspect_model(write_model("logit-map-int8", card=grown), time=False))
    for words in (
        "ground sample distance in training: 0.2 to 0.5 mm a pixel\n",
        "trained for: epochs 3, wall s 60\n",
        "before that: role weights, name nano, sha256 ab, steps 7500, notes from ImageNet\n",
        "before that: role teacher, of nano, name large, sha256 cd, notes no card\n",
        "quay  nano   training",
    ):
        assert words in text


def test_what_cannot_be_looked_at_is_one_line(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="no such model file"):
        inspect_model("nono")
    text = tmp_path / "notes.tflite"
    text.write_text("not a model at all")
    with pytest.raises(ModelError, match="not a TFLite file"):
        inspect_model(text)
    with pytest.raises(OptionError, match="threads 0"):
        inspect_model(tiny_model, threads=0)
