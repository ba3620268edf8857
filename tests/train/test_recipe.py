from __future__ import annotations

from pathlib import Path

import pytest

from crackedge.edge_runtime.errors import OptionError
from crackedge.train.recipe import load_recipe, shipped_recipes


def _write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_load(name: str) -> None:
    assert load_recipe(name).name == name


def test_the_shipped_model_never_sees_evaluation_only_sets() -> None:
    recipe = load_recipe("nano")
    assert recipe.use_of("seed").weight == 0
    assert recipe.use_of("frames").weight == 0


def test_a_recipe_is_named_after_its_file_and_overridden_by_options(tmp_path: Path) -> None:
    recipe = load_recipe(_write(tmp_path, "epochs = 3\n[data.bridge]\nweight = 2\n"), epochs=5, alpha=None)
    assert (recipe.name, recipe.epochs, recipe.alpha) == ("mine", 5, 0.35)
    assert recipe.use_of("bridge").weight == 2.0
    assert recipe.use_of("another").weight == 1.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch = 3", ["mine.toml", "'epoch'", "epochs"]),
        ("epochs = 'three'", ["mine.toml", "epochs", "int"]),
        ("[data.bridge]\nwieght = 1", ["mine.toml", "data.bridge", "'wieght'"]),
        ("epochs = = 3", ["mine.toml", "TOML"]),
        ("canvas_px = 300", ["mine.toml", "canvas_px = 300", "448"]),
        ("epochs = 0\nhead_epochs = 0", ["mine.toml", "one epoch"]),
        ("backbone = 'alexnet'", ["mine.toml", "alexnet"]),
        ("batch_norm = 'sometimes'", ["mine.toml", "batch_norm"]),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(OptionError) as caught:
        load_recipe(_write(tmp_path, text))
    assert all(word in str(caught.value) for word in words), caught.value


def test_an_unknown_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(OptionError, match="nano"):
        load_recipe("no-such-recipe")
