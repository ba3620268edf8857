from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from crackedge.edge_runtime.errors import DataError, OutputError
from crackedge.train.recipe import load_recipe
from crackedge.train.run_folder import create, read_config, recipe_of, require_free, write_config, write_history


def test_names_of_files_that_are_not_utf_8_come_back_as_they_are(tmp_path: Path) -> None:
    config = {"split_inside": {"site": [os.fsdecode(b"crack/br\xfccke.png"), "crack/brücke.png"]}}
    write_config(tmp_path, config)
    assert read_config(tmp_path) == config
    assert "crack/brücke.png" in (tmp_path / "config.json").read_text(encoding="utf-8")


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="is not empty; give another -o"):
        create(tmp_path)
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OutputError, match="is not a folder; give another -o"):
            create(path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    for place in (create, require_free):
        with pytest.raises(OutputError, match=r"n{300}: cannot be written \(File name too long\); give another -o"):
            place(tmp_path / ("n" * 300))


def test_nor_do_names_of_sets_have_to_be(tmp_path: Path) -> None:
    write_history(tmp_path, [{"epoch": 1, "val": {os.fsdecode(b"f\xe4hre"): {"auc": 0.5}}}])
    assert (tmp_path / "history.csv").read_text(encoding="utf-8").splitlines() == [r"epoch,val.f\udce4hre.auc", "1,0.5"]


@pytest.mark.parametrize("name", ["base-second", "vgg16"])
def test_a_recipe_comes_back_as_it_was_written(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe_of(json.loads(json.dumps({"recipe": asdict(recipe)}))) == recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": "fast"}, "config.json: learning_rate = 'fast': expected float"),
        ({"batch": 0}, "config.json: batch = 0: expected at least 1"),
        ({"momentum": 0.9}, "config.json: unknown key 'momentum'"),
        ({"data": {"metu": {"weight": -1.0}}}, "config.json: data.metu: weight = -1.0: expected at least 0"),
        ({"data": ["metu"]}, "config.json: no recipe"),
    ],
)
def test_a_recipe_that_was_edited_or_is_of_another_version_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as refused:
        recipe_of({"recipe": {**asdict(load_recipe("nano")), **change}})
    assert message in str(refused.value)
    assert "use the version of crackedge that began the run" in str(refused.value)
