from __future__ import annotations

from pathlib import Path

import pytest

from crackedge.edge_runtime.errors import OptionError
from crackedge.train.backbones import BACKBONES
from crackedge.train.recipe import load_recipe, shipped_recipes


def _write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_load(name: str) -> None:
    assert load_recipe(name).name == name


@pytest.mark.parametrize("name", shipped_recipes())
def test_no_shipped_recipe_sees_evaluation_only_sets(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.use_of("seed").weight == 0
    assert recipe.use_of("frames").weight == 0
    assert recipe.use_of("sdnet_walls").smoothing > 0


def test_every_backbone_has_a_recipe() -> None:
    assert {load_recipe(name).backbone for name in shipped_recipes()} == set(BACKBONES)


@pytest.mark.parametrize("name", ["resnet50", "resnet50v2", "vgg16"])
def test_the_published_networks_come_as_published_and_set_right(name: str) -> None:
    published, tuned = load_recipe(name), load_recipe(f"{name}-tuned")
    assert published.backbone == tuned.backbone == name
    assert (published.preprocessing, published.augment, published.patience) == ("unit", "flip", 4)
    assert (tuned.preprocessing, tuned.augment, tuned.schedule) == ("own", "full", "cosine")
    rate = published.learning_rate if published.epochs else published.head_learning_rate
    assert (published.optimizer, rate, published.canvas_px) == ("adam", 1e-3, 224)
    assert (published.epochs == 0) is (name != "resnet50v2")  # the others train a head on a frozen backbone
    assert published.head_epochs + published.epochs > published.patience


def test_several_recipes_share_one_table_of_data_sets(tmp_path: Path) -> None:
    (tmp_path / "sites.toml").write_text("[bridge]\nweight = 2\nvalue_clear = [0, 64]\n")
    recipe = load_recipe(_write(tmp_path, "data = 'sites.toml'"))
    assert recipe.use_of("bridge").weight == 2.0
    assert recipe.use_of("bridge").value_clear == (0, 64)


def test_a_recipe_changes_single_keys_of_a_shared_table(tmp_path: Path) -> None:
    (tmp_path / "sites.toml").write_text("[bridge]\nweight = 2\nlicence = 'CC0'\n[quay]\nweight = 3\n")
    recipe = load_recipe(_write(tmp_path, "[data]\nfrom = 'sites.toml'\nbridge.weight = 5\n[data.wall]\nweight = 0\n"))
    assert {name: use.weight for name, use in recipe.data.items()} == {"bridge": 5.0, "quay": 3.0, "wall": 0.0}
    assert recipe.use_of("bridge").licence == "CC0"


def test_a_recipe_is_named_after_its_file_and_overridden_by_options(tmp_path: Path) -> None:
    recipe = load_recipe(_write(tmp_path, "epochs = 3\n[data.bridge]\nweight = 2\n"), epochs=5, alpha=None)
    assert (recipe.name, recipe.epochs, recipe.alpha) == ("mine", 5, 1.0)
    assert recipe.use_of("bridge").weight == 2.0
    assert recipe.use_of("another").weight == 1.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch = 3", ["mine.toml", "'epoch'", "epochs"]),
        ("epochs = 'three'", ["mine.toml", "epochs", "int"]),
        ("[data.bridge]\nwieght = 1", ["mine.toml", "data.bridge", "'wieght'"]),
        ("[data.bridge]\nphoto = '(IMG'", ["mine.toml", "data.bridge", "photo = '(IMG'", "regular expression"]),
        ("[data.bridge]\nphoto = '^IMG'", ["mine.toml", "data.bridge", "photo = '^IMG'", "no group"]),
        ("[data.bridge]\nphoto = 7", ["mine.toml", "data.bridge", "photo", "str"]),
        ("epochs = = 3", ["mine.toml", "TOML"]),
        ("canvas_px = 300", ["mine.toml", "canvas_px = 300", "448"]),
        ("epochs = 0\nhead_epochs = 0", ["mine.toml", "one epoch"]),
        ("backbone = 'alexnet'", ["mine.toml", "alexnet"]),
        ("batch_norm = 'sometimes'", ["mine.toml", "batch_norm"]),
        ("preprocessing = 'caffe'", ["mine.toml", "preprocessing", "'caffe'", "'unit'"]),
        ("augment = 'mirror'", ["mine.toml", "augment", "'flip'"]),
        ("optimizer = 'sgd'", ["mine.toml", "optimizer", "'adamw'"]),
        ("schedule = 'linear'", ["mine.toml", "schedule", "'cosine'"]),
        ("patience = -1", ["mine.toml", "patience = -1", "at least 0"]),
        ("mixed_precision = 1", ["mine.toml", "mixed_precision", "bool"]),
        ("learning_rate = nan", ["mine.toml", "learning_rate = nan", "finite"]),
        ("learning_rate = inf", ["mine.toml", "learning_rate = inf", "a finite number, at least 1e-09"]),
        ("backbone = 'mobilenet_v2'\nalpha = 0.5", ["mine.toml", "backbone = 'mobilenet_v2'", "expected one of"]),
        ("own_tables = ['bridge']", ["mine.toml", "unknown key 'own_tables'"]),
        ("learning_rate = 0", ["mine.toml", "learning_rate"]),
        ("ema = 1.0", ["mine.toml", "ema = 1.0"]),
        ("seed = -1", ["mine.toml", "seed = -1"]),
        ("alpha = -0.5", ["mine.toml", "alpha", "0.1 to 2"]),
        ("batch = 0", ["mine.toml", "batch = 0", "at least 1"]),
        ("synthetic = 0.7\nwide = 0.7", ["mine.toml", "synthetic + wide"]),
        ("name = '../up'", ["mine.toml", "name", "'../up'"]),
        ("augment = 'flip'", ["mine.toml", "canvas_px = 448", "expected 224"]),
        ("backbone = 'vgg16'\nalpha = 0.5", ["mine.toml", "alpha", "'vgg16'", "'mobilenetv2'"]),
        ("optimizer = 'adam'\nweight_decay = 0.1", ["mine.toml", "weight_decay", "'adamw'"]),
        ("schedule = 'constant'\nfinal_rate = 0.1", ["mine.toml", "final_rate", "'cosine'"]),
        ("augment = 'flip'\ncanvas_px = 224\nwide = 0.1", ["mine.toml", "wide", "'full'"]),
        ("teacher = 'nowhere.keras'", ["mine.toml", "teacher", "nowhere.keras"]),
        ("teacher_share = 1.5", ["mine.toml", "teacher_share = 1.5", "0 to 1"]),
        ("data = 'nowhere'", ["mine.toml", "data", "'nowhere'", "crackedge"]),
        ("[data]\nfrom = 'nowhere'", ["mine.toml", "data", "'nowhere'", "crackedge"]),
        ("[data]\nfrom = 'crackedge'\nbridge = 1", ["mine.toml", "data", "table"]),
        ("[data]\nfrom = 'crackedge'\nmetu.wieght = 1", ["mine.toml", "data.metu", "'wieght'"]),
        ("data = 3", ["mine.toml", "data"]),
        ("data = {bridge = 1}", ["mine.toml", "data", "table"]),
        ("[data.bridge]\nsmoothing = 0.7", ["mine.toml", "data.bridge", "smoothing = 0.7"]),
        ("[data.bridge]\ngsd_mm = 0.2", ["mine.toml", "data.bridge", "gsd_mm", "tuple"]),
        ("[data.bridge]\ngsd_mm = [0.2]", ["mine.toml", "data.bridge", "gsd_mm = [0.2]", "[0.2, 0.6]"]),
        ("[data.bridge]\ngsd_mm = [0.6, 0.2]", ["mine.toml", "data.bridge", "gsd_mm = [0.6, 0.2]", "finest"]),
        ("[data.bridge]\ngsd_mm = [0, 0.2]", ["mine.toml", "data.bridge", "gsd_mm = [0, 0.2]"]),
        ("[data.bridge]\ngsd_mm = [0.2, inf]", ["mine.toml", "data.bridge", "gsd_mm = [0.2, inf]"]),
        ("[data.bridge]\ngsd_mm = ['fine', 'coarse']", ["mine.toml", "data.bridge", "gsd_mm"]),
        ("[data.bridge]\nvalue_clear = [255]", ["mine.toml", "data.bridge", "value_clear"]),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(OptionError) as caught:
        load_recipe(_write(tmp_path, text))
    assert all(word in str(caught.value) for word in words), caught.value


def test_errors_of_a_shared_table_name_that_file(tmp_path: Path) -> None:
    (tmp_path / "sites.toml").write_text("[bridge]\nwieght = 2\n")
    with pytest.raises(OptionError, match=r"sites\.toml: bridge: unknown key 'wieght'"):
        load_recipe(_write(tmp_path, "data = 'sites.toml'"))


def test_an_option_without_effect_is_refused() -> None:
    with pytest.raises(OptionError, match=r"vgg16\.toml: alpha has no effect"):
        load_recipe("vgg16", alpha=0.5)


def test_an_unknown_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(OptionError, match="nano"):
        load_recipe("no-such-recipe")
