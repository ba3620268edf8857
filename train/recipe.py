"""Recipes: what to train, on what, for how long, as a readable TOML file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomllib

from crackedge.edge_runtime.errors import OptionError

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True)
class SetUse:
    """How one data set is used.

    Attributes:
        weight: how often the set is drawn, relative to the others; 0 keeps it out of training.
        smoothing: certainty taken back from its labels, for sets with label noise.
        value_clear: mask values that mean "no crack here"; others than these and 255 mean "not known".
        background_only: the set serves as crack-free background; its cracks are left alone.
        max_scale: how much the set's pictures may be enlarged.
        licence: of the photographs, for the model card.
        source: where they come from, for the model card.
    """

    weight: float = 1.0
    smoothing: float = 0.0
    value_clear: tuple[int, ...] = (0,)
    background_only: bool = False
    max_scale: float = 2.5
    licence: str = "not stated"
    source: str = "not stated"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a training run computes, but for the photographs and the backbone's weights.

    Attributes:
        name: of the recipe, and of the model.
        backbone: ``"mobilenetv2"``.
        alpha: width of the backbone.
        canvas_px: edge of the training canvases: 224 (single tiles) or 448 (mosaics and views wider than a tile).
        batch: canvases in a step.
        steps_per_epoch: steps of one epoch.
        head_epochs: epochs with a frozen backbone.
        epochs: epochs after those, with the whole network.
        head_learning_rate: of the first phase, constant.
        learning_rate: of the second, after a warm-up, falling by a cosine.
        final_rate: where it ends, as a share of ``learning_rate``.
        ema: momentum of the moving average of the weights that is validated and kept, per step; 0 keeps the last
            weights. Averages generalise better to surfaces never seen (Cha et al., SWAD, NeurIPS 2021).
        weight_decay: of AdamW.
        train_from: first block of a pretrained backbone that learns; what lies before stays as it is. Empty: all.
        batch_norm: of a pretrained backbone: ``"frozen"`` (as pretrained) or ``"train"``.
        cell_share: weight of the loss of single cells beside that of windows.
        synthetic: share of canvases that are procedural surfaces.
        wide: share of canvases that are one wide view and not a mosaic.
        healed: share of masked photographs whose cracks are covered, so that a rough surface alone means nothing.
        seed: of everything.
        data: how to use each data set, by name.
    """

    name: str
    backbone: str = "mobilenetv2"
    alpha: float = 0.35
    canvas_px: int = 448
    batch: int = 8
    steps_per_epoch: int = 400
    head_epochs: int = 1
    epochs: int = 12
    head_learning_rate: float = 2e-3
    learning_rate: float = 1e-3
    final_rate: float = 0.01
    ema: float = 0.0
    weight_decay: float = 1e-4
    train_from: str = ""
    batch_norm: str = "frozen"
    cell_share: float = 0.3
    synthetic: float = 0.15
    wide: float = 0.4
    healed: float = 0.2
    seed: int = 1
    data: Mapping[str, SetUse] = field(default_factory=dict)

    def use_of(self, set_name: str) -> SetUse:
        """How a data set is used; one that the recipe does not name counts like any other."""
        return self.data.get(set_name, SetUse())


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with crackedge."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name_or_path: str, **overrides: Any) -> Recipe:
    """A recipe by its name or from a file, with some of its values replaced.

    Args:
        name_or_path: a shipped recipe's name, or a TOML file.
        **overrides: values to replace; None leaves the recipe's own.

    Raises:
        OptionError: no such recipe, unknown key, or a value of the wrong type; names file and key.
    """
    path = RECIPES / f"{name_or_path}.toml"
    if not path.is_file():
        path = Path(name_or_path)
    if not path.is_file():
        raise OptionError(
            f"recipe {name_or_path!r}: no such file, and the shipped ones are {', '.join(shipped_recipes())}"
        )
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{path}: not readable as TOML ({error})") from error
    raw.setdefault("name", path.stem)
    sets = raw.pop("data", {})
    recipe: Recipe = _checked(Recipe, raw, origin=str(path))
    data = {name: _checked(SetUse, values, origin=f"{path}: data.{name}") for name, values in sets.items()}
    recipe = dataclasses.replace(
        recipe, data=data, **{key: value for key, value in overrides.items() if value is not None}
    )
    _validate(recipe, origin=str(path))
    return recipe


def _checked(kind: type[Any], values: Mapping[str, Any], *, origin: str) -> Any:
    known = {f.name: f for f in dataclasses.fields(kind)}
    checked: dict[str, Any] = {}
    for key, given in values.items():
        value = given
        if key not in known:
            raise OptionError(f"{origin}: unknown key {key!r}; known are {', '.join(sorted(known))}")
        expected = type(known[key].default) if known[key].default is not dataclasses.MISSING else str
        if expected is float and type(value) is int:
            value = float(value)
        if expected is tuple and isinstance(value, list):
            value = tuple(value)
        if type(value) is not expected:
            raise OptionError(f"{origin}: {key} = {value!r}: expected {expected.__name__}")
        checked[key] = value
    return kind(**checked)


def _validate(recipe: Recipe, *, origin: str) -> None:
    if recipe.backbone != "mobilenetv2":
        raise OptionError(f"{origin}: backbone = {recipe.backbone!r}: expected 'mobilenetv2'")
    if recipe.canvas_px not in (224, 448):
        raise OptionError(f"{origin}: canvas_px = {recipe.canvas_px}: expected 224 or 448")
    if recipe.batch_norm not in ("frozen", "train"):
        raise OptionError(f"{origin}: batch_norm = {recipe.batch_norm!r}: expected 'frozen' or 'train'")
    for key in ("ema", "final_rate"):
        if not 0 <= getattr(recipe, key) < 1:
            raise OptionError(f"{origin}: {key} = {getattr(recipe, key)}: expected 0 or more, below 1")
    for key in ("batch", "steps_per_epoch"):
        if getattr(recipe, key) < 1:
            raise OptionError(f"{origin}: {key} = {getattr(recipe, key)}: expected at least 1")
    if recipe.head_epochs < 0 or recipe.epochs < 0 or recipe.head_epochs + recipe.epochs == 0:
        raise OptionError(f"{origin}: head_epochs and epochs: expected one epoch at least")
