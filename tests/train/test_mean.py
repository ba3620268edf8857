"""The mean of several runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("keras", reason="the workstation's packages are not installed")

import keras

from crackedge.cli import main
from crackedge.edge_runtime.errors import DataError, OptionError, OutputError
from crackedge.edge_runtime.models.model import find_model
from crackedge.train import run_folder
from crackedge.train.fit import resume
from crackedge.train.lineage import lineage
from crackedge.train.mean import _grown_from, average
from crackedge.train.network import build_network
from crackedge.train.recipe import Recipe, load_recipe

Write = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path) -> Write:
    """Writes a run folder whose network has one number for all its weights."""

    def write(name: str, value: float, *, network: str = "small", filters: int = 2, **config: Any) -> Path:
        pixels = keras.Input((None, None, 3))
        model = keras.Model(pixels, keras.layers.Conv2D(filters, 1)(pixels), name=network)
        model.set_weights([np.full_like(weight, value) for weight in model.get_weights()])
        folder = run_folder.create(tmp_path / name)
        run_folder.write_model(folder, model)
        sets = [{"name": name, "photographs": 3, "licence": "CC0", "source": "here"}]
        told = {"recipe": Recipe(name), "sets": sets, "data_root": "photos", "training": {"epochs": 2}}
        began = {"weights": "same.keras", "weights_from": "same.keras", "weights_sha256": "5a"}
        run_folder.write_config(folder, {**told, **began, **config})
        return folder

    return write


def test_the_mean_has_the_mean_of_the_weights_and_tells_of_all(run: Write, tmp_path: Path) -> None:
    teacher = {"role": "teacher", "name": "large", "of": "any"}
    before = {"lineage": {"models": [teacher], "data_sets": []}}
    first, second, third = run("first", 1.0, **before), run("second", 2.0), run("third", 6.0, **before)
    folder = average([first, second, third], tmp_path / "mean")
    weights = keras.models.load_model(folder / run_folder.MODEL).get_weights()
    assert all((weight == 3).all() for weight in weights)
    config = json.loads((folder / run_folder.CONFIG).read_text(encoding="utf-8"))
    assert [one["name"] for one in config["sets"]] == ["third"]
    models = config["lineage"]["models"]
    assert models.pop(1) == teacher  # once
    assert [(one["role"], one["name"], one["training"]) for one in models] == [
        ("averaged", name, {"epochs": 2}) for name in ("first", "second", "third")
    ]
    assert [one["name"] for one in config["lineage"]["data_sets"]] == ["first", "second"]
    with pytest.raises(DataError, match="does not say where the data are"):
        resume(folder)


@pytest.mark.parametrize("other", [{"filters": 3}, {"network": "large"}])
def test_networks_that_are_not_alike_are_refused(run: Write, tmp_path: Path, other: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"first/model\.keras: a network .* only alike ones"):
        average([run("first", 1.0, **other), run("second", 2.0)], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


RANDOM = {"weights": None, "weights_from": None, "weights_sha256": None}
IMAGENET = {"weights": "imagenet", "weights_from": "imagenet"}


@pytest.mark.parametrize("other", [RANDOM, IMAGENET, {"weights_sha256": "other"}])
def test_runs_that_began_with_different_weights_are_refused(run: Write, tmp_path: Path, other: dict[str, Any]) -> None:
    first, second = run("first", 1.0, **RANDOM), run("second", 2.0, **other)
    with pytest.raises(OptionError, match=r"first: .*second did not go on from it .* cannot be averaged"):
        average([first, second], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
    assert average([first, first], tmp_path / "mean").is_dir(), "one run twice"


def test_a_run_and_one_that_went_on_from_it_weigh_as_often_as_they_are_named(run: Write, tmp_path: Path) -> None:
    first = run("first", 1.0, **RANDOM)
    told = lineage(str(first / run_folder.MODEL), "")
    second = run("second", 4.0, weights_sha256=told.models[0]["sha256"])
    third = run("third", 4.0, weights_sha256="7d", lineage=told)
    for number, later in enumerate((second, third)):
        folder = average([first, first, later], tmp_path / f"mean{number}")
        weights = keras.models.load_model(folder / run_folder.MODEL).get_weights()
        assert all((weight == 2).all() for weight in weights)
    assert average([tmp_path / "mean1", third], tmp_path / "later").is_dir(), "a mean and what it is made of"
    pupil = run("pupil", 1.0, **RANDOM, lineage={"models": [{"role": "teacher", **_own(first)}], "data_sets": []})
    with pytest.raises(OptionError, match="cannot be averaged"):
        average([first, pupil], tmp_path / "other")


def _own(run: Path) -> dict[str, Any]:
    return {"name": "first", "sha256": lineage(str(run / run_folder.MODEL), "").models[0]["sha256"]}


def test_two_runs_from_one_pretrained_backbone(run: Write, tmp_path: Path) -> None:
    began = {**IMAGENET, "weights_sha256": None}
    folder = average([run("first", 1.0, **began), run("second", 3.0, **began)], tmp_path / "mean")
    assert all((weight == 2).all() for weight in keras.models.load_model(folder / run_folder.MODEL).get_weights())


def test_a_run_and_the_shipped_model_that_it_went_on_from(tmp_path: Path) -> None:
    recipe, file = load_recipe("nano-second"), Path(shutil.copy(find_model("nano"), tmp_path / "mine.tflite"))
    network = build_network(recipe, weights=file)
    kernel, bias = network.layers[-1].get_weights()
    network.layers[-1].set_weights([kernel, bias + 1])
    run = run_folder.create(tmp_path / "site")
    run_folder.write_model(run, network)
    sets = [{"name": "site", "photographs": 3, "licence": "CC0", "source": "here"}]
    told = {"recipe": recipe, "sets": sets, "weights": file.name, "lineage": lineage(str(file), "")}
    run_folder.write_config(run, told)
    folder = average([file, run], tmp_path / "mean")
    mean = keras.models.load_model(folder / run_folder.MODEL)
    assert mean.layers[-1].get_weights()[1] == pytest.approx(bias + 0.5)
    for weight, same in zip(mean.get_weights()[:-1], network.get_weights()[:-1], strict=True):
        assert weight == pytest.approx(same, abs=1e-6)
    config = json.loads((folder / run_folder.CONFIG).read_text(encoding="utf-8"))
    models = [(one["role"], one["name"]) for one in config["lineage"]["models"] if "of" not in one]
    assert models == [("averaged", "nano"), ("averaged", "nano-second")], "by their cards, not by their files"
    run_folder.write_config(run, {**told, "lineage": lineage(str(find_model("base")), "")})
    with pytest.raises(OptionError, match=r"nano\.tflite: .*site did not go on from it"):
        average([Path("nano"), run], tmp_path / "other")
    with pytest.raises(OptionError, match=r"base\.tflite: expected a run too that went on from it"):
        average([Path("nano"), Path("base")], tmp_path / "other")


def test_what_a_teacher_grew_from_is_not_what_its_pupil_did(run: Write, tmp_path: Path) -> None:
    nano = {**lineage(str(find_model("nano")), "").models[0], "of": "nano-second"}
    teacher = {"role": "teacher", "name": "nano-second", "sha256": "ab"}
    own = {"role": "weights", "name": "nano-second", "sha256": "cd"}
    before = {"role": "averaged", "name": "earlier", "sha256": "ef", "of": "nano-second"}
    assert _grown_from([own, before, {**nano, "of": "earlier"}, teacher]) == {"cd", "ef", nano["sha256"]}
    for models in ([teacher, nano], [own, teacher, nano]):
        pupil = run(f"pupil{len(models)}", 1.0, lineage={"models": models, "data_sets": []})
        with pytest.raises(OptionError, match=r"nano\.tflite: .*pupil. did not go on from it"):
            average([Path("nano"), pupil], tmp_path / "mean")


def test_what_cannot_be_averaged_is_named(run: Write, tmp_path: Path) -> None:
    first = run("first", 1.0)
    with pytest.raises(OptionError, match="1 run to average"):
        average([first], tmp_path / "mean")
    with pytest.raises(DataError, match="not the folder of a training run"):
        average([first, tmp_path / "nowhere"], tmp_path / "mean")
    with pytest.raises(OutputError, match="not empty"):
        average([first, run("second", 2.0)], first)


def test_the_command_averages_and_says_what_comes_next(
    run: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, mean = (str(path) for path in (run("first", 1.0), run("second", 2.0), tmp_path / "mean"))
    assert _exit_code(monkeypatch, "--average", first, "--average", second, "-o", mean) == 0
    assert f"crackedge export {mean}" in capsys.readouterr().out
    for wrong in (["--average", first, "-o", mean], ["--average", first, "--average", second]):
        assert _exit_code(monkeypatch, *wrong) == 2
        assert "--average, twice or more, takes runs" in capsys.readouterr().err
    assert _exit_code(monkeypatch, "--average", first, "--average", second, "-o", mean, "--epochs", "3") == 2
    assert "leave out --epochs" in capsys.readouterr().err


def _exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["crackedge", "train", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)
