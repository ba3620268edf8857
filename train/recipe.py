"""Recipes: what to train, on what, for how long, as a readable TOML file."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomllib

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.lattice import TILE
from crackedge.train.backbones import BACKBONES

RECIPES = Path(__file__).parent / "recipes"
DATA = RECIPES / "data"  # tables of data sets that several recipes share


@dataclass(frozen=True, slots=True)
class SetUse:
    """How one data set is used.

    Attributes:
        weight: how often the set is drawn, relative to the others; 0 keeps it out of training.
        smoothing: certainty taken back from its labels, for sets with label noise.
        value_clear: mask values that mean "no crack here"; others than these and 255 mean "not known". Empty, none
            named: in training 0 alone means it, in validation and on the model card all but 255 do.
        background_only: the set serves as crack-free background; its cracks are left alone.
        max_scale: how much tiles cut from its masked photographs may be enlarged; wide views go by the size of theirs.
        photo: pattern (regular expression) whose group 1 names the source photograph in a file's name without its
            ending; splits that share a photograph are refused. Empty: each file is a photograph of its own.
        gsd_mm: finest and coarsest ground sample distance of the photographs, millimetres of the surface to a pixel,
            for the model card; of photographs in ``crack/`` and ``no_crack/`` when they are shrunk to a tile. Empty:
            not known.
        licence: of the photographs, for the model card.
        source: where they come from, for the model card.
    """

    weight: float = 1.0
    smoothing: float = 0.0
    value_clear: tuple[int, ...] = ()
    background_only: bool = False
    max_scale: float = 2.5
    photo: str = ""
    gsd_mm: tuple[float, ...] = ()
    licence: str = "not stated"
    source: str = "not stated"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a training run computes, but for the photographs and the backbone's weights.

    Attributes:
        name: of the recipe, and of the model.
        backbone: one of :data:`crackedge.train.backbones.BACKBONES`.
        alpha: width of the MobileNets.
        preprocessing: ``"own"``, what the backbone was pretrained with, or ``"unit"``, pixels divided by 255.
        augment: ``"full"``, or ``"flip"`` as notebooks do: whole tiles, mirrored or not, and nothing else.
        canvas_px: edge of the training canvases: 224 (single tiles) or 448 (mosaics and views wider than a tile).
        batch: canvases in a step.
        steps_per_epoch: steps of one epoch.
        head_epochs: epochs with a frozen backbone.
        epochs: epochs after those, with the whole network.
        head_learning_rate: of the first phase, constant.
        optimizer: ``"adamw"`` or ``"adam"``.
        schedule: of the second phase's rate: ``"cosine"``, a warm-up and then a fall, or ``"constant"``.
        learning_rate: of the second phase; with a cosine its highest.
        final_rate: where the cosine ends, as a share of ``learning_rate``.
        patience: epochs without a better validation loss after which a run stops; the best epoch's network is kept
            then. 0 never stops early and keeps the last.
        mixed_precision: compute in half precision where Keras can; for GPUs.
        ema: momentum of the moving average of the weights that is validated and kept, per step; 0 keeps the last
            weights. Averages generalise better to surfaces never seen (Cha et al., SWAD, NeurIPS 2021).
        weight_decay: of AdamW.
        train_from: first block of a pretrained backbone that learns; what lies before stays as it is. Empty: all.
        batch_norm: of a pretrained backbone: ``"frozen"`` (as pretrained) or ``"train"``.
        cell_share: weight of the loss of single cells beside that of windows.
        teacher: ``model.keras`` of an earlier, larger run to learn from; empty for none.
        teacher_share: how much of the windows' loss is the teacher's opinion, of all windows, and not the labels.
        synthetic: share of canvases that are procedural surfaces.
        wide: share of canvases that are one wide view and not a mosaic.
        healed: share of masked photographs whose cracks are covered, so that a rough surface alone means nothing.
        seed: of everything.
        data: how to use each data set, by name.
        own_tables: names in ``data`` that stand in the recipe's own file alone, and in no file of tables that it draws
            from; no key, but what was found when it was read.
    """

    name: str
    backbone: str = "mobilenetv2"
    alpha: float = 1.0
    preprocessing: str = "own"
    augment: str = "full"
    canvas_px: int = 448
    batch: int = 8
    steps_per_epoch: int = 400
    head_epochs: int = 1
    epochs: int = 12
    head_learning_rate: float = 2e-3
    optimizer: str = "adamw"
    schedule: str = "cosine"
    learning_rate: float = 1e-3
    final_rate: float = 0.01
    patience: int = 0
    mixed_precision: bool = False
    ema: float = 0.0
    weight_decay: float = 1e-4
    train_from: str = ""
    batch_norm: str = "frozen"
    cell_share: float = 0.3
    teacher: str = ""
    teacher_share: float = 0.5
    synthetic: float = 0.15
    wide: float = 0.4
    healed: float = 0.2
    seed: int = 1
    data: Mapping[str, SetUse] = field(default_factory=dict)
    own_tables: tuple[str, ...] = ()

    def use_of(self, set_name: str) -> SetUse:
        """How a data set is used; one that the recipe does not name counts like any other."""
        return self.data.get(set_name, SetUse())


_ANY = sys.float_info.max
_NO_KEYS = ("data", "own_tables")  # of a recipe's single values
_CHOICES: Mapping[str, Sequence[Any]] = {
    "backbone": tuple(BACKBONES),
    "preprocessing": ("own", "unit"),
    "augment": ("full", "flip"),
    "canvas_px": (TILE, 2 * TILE),
    "optimizer": ("adamw", "adam"),
    "schedule": ("cosine", "constant"),
    "batch_norm": ("frozen", "train"),
}
_RANGES: Mapping[str, tuple[float, float]] = {
    "alpha": (0.1, 2),
    "batch": (1, _ANY),
    "steps_per_epoch": (1, _ANY),
    "head_epochs": (0, _ANY),
    "epochs": (0, _ANY),
    "head_learning_rate": (1e-9, _ANY),
    "learning_rate": (1e-9, _ANY),
    "final_rate": (0, 1),
    "patience": (0, _ANY),
    "ema": (0, 0.99999),
    "weight_decay": (0, 1),
    "cell_share": (0, _ANY),
    "teacher_share": (0, 1),
    "synthetic": (0, 1),
    "wide": (0, 1),
    "healed": (0, 1),
    "seed": (0, 2**32 - 1),
}
_USE_RANGES: Mapping[str, tuple[float, float]] = {"weight": (0, _ANY), "smoothing": (0, 0.5), "max_scale": (0.5, 10)}
_ONLY_WITH: Mapping[str, tuple[str, Sequence[str]]] = {
    "alpha": ("backbone", tuple(name for name, backbone in BACKBONES.items() if backbone.has_alpha)),
    "final_rate": ("schedule", ("cosine",)),
    "weight_decay": ("optimizer", ("adamw",)),
    "synthetic": ("augment", ("full",)),
    "wide": ("augment", ("full",)),
    "healed": ("augment", ("full",)),
}


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with crackedge."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name_or_path: str, **overrides: Any) -> Recipe:
    """A recipe by its name or from a file, with some of its values replaced.

    Args:
        name_or_path: a shipped recipe's name, or a TOML file.
        **overrides: values to replace; None leaves the recipe's own.

    Raises:
        OptionError: no such recipe, unknown key, a value of the wrong type or out of range, or a key without effect;
            names file and key.
    """
    path = RECIPES / f"{name_or_path}.toml"
    if not path.is_file():
        path = Path(name_or_path)
    if not path.is_file():
        raise OptionError(
            f"recipe {name_or_path!r}: no such file, and the shipped ones are {', '.join(shipped_recipes())}"
        )
    raw = _read(path)
    raw.setdefault("name", path.stem)
    data, own_tables = _uses(raw.pop("data", {}), path)
    written: Recipe = _checked(Recipe, raw, origin=str(path))
    given = {key: value for key, value in overrides.items() if value is not None}
    recipe = dataclasses.replace(written, data=data, own_tables=own_tables, **given)
    if recipe.teacher:
        recipe = dataclasses.replace(recipe, teacher=str(Path(recipe.teacher).absolute()))
    _validate(recipe, origin=str(path))
    if recipe.teacher and not Path(recipe.teacher).is_file():
        raise OptionError(f"{path}: teacher = {recipe.teacher!r}: no such file; expected the model.keras of a run")
    _refuse_idle(raw.keys(), written, origin=str(path))
    _refuse_idle(given.keys(), recipe, origin=str(path))
    return recipe


def recipe_from(values: Mapping[str, Any], *, origin: str) -> Recipe:
    """A recipe from its values, as ``dataclasses.asdict`` gives them and JSON writes them.

    Args:
        values: of every key.
        origin: where they stand, for messages.

    Raises:
        OptionError: an unknown key, or a value of the wrong type or out of range; names ``origin`` and key.
    """
    plain = {key: value for key, value in values.items() if key not in _NO_KEYS}
    recipe: Recipe = _checked(Recipe, plain, origin=origin)
    data = _checked_uses(values.get("data", {}), origin=f"{origin}: data.")
    recipe = dataclasses.replace(recipe, data=data, own_tables=tuple(values.get("own_tables", ())))
    _validate(recipe, origin=origin)
    return recipe


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{path}: not readable as TOML ({error})") from error


def _uses(data: object, path: Path) -> tuple[dict[str, SetUse], tuple[str, ...]]:
    """What a recipe says of its data sets: the name of a file of tables, tables of its own, or both.

    With ``data.from`` the recipe's own tables change single keys of those of the file.

    Returns:
        Each set's use, and the names that no file of tables has.
    """
    shared: dict[str, Any] = {}
    prefix = "data."
    if isinstance(data, str):
        path, data = _shared(data, path)
        shared, prefix = data, ""
    elif isinstance(data, dict) and isinstance(data.get("from"), str):
        _, shared = _shared(data["from"], path)
        data = {name: values for name, values in data.items() if name != "from"}
    if not isinstance(data, dict) or not all(isinstance(values, dict) for values in (data | shared).values()):
        raise OptionError(f"{path}: data: expected a table for each data set, [{prefix}NAME], or the name of a file")
    own_tables = tuple(name for name in data if name not in shared)
    data = {name: shared.get(name, {}) | data.get(name, {}) for name in [*shared, *data]}
    return _checked_uses(data, origin=f"{path}: {prefix}"), own_tables


def _checked_uses(data: Mapping[str, Mapping[str, Any]], *, origin: str) -> dict[str, SetUse]:
    uses: dict[str, SetUse] = {name: _checked(SetUse, values, origin=origin + name) for name, values in data.items()}
    for name, use in uses.items():
        _in_range(use, _USE_RANGES, origin=origin + name)
        _check_photo(use.photo, origin=origin + name)
        if not all(type(value) is int and 0 <= value < 255 for value in use.value_clear):
            raise OptionError(f"{origin}{name}: value_clear = {list(use.value_clear)}: expected 0 to 254 each")
        if use.gsd_mm and not _is_range(use.gsd_mm):
            raise OptionError(
                f"{origin}{name}: gsd_mm = {list(use.gsd_mm)}: expected the finest and the coarsest, "
                "millimetres per pixel, such as [0.2, 0.6]"
            )
    return uses


def _shared(name: str, recipe: Path) -> tuple[Path, dict[str, Any]]:
    """A file of tables of data sets, by its name, and what is in it."""
    shipped = DATA / f"{name}.toml"
    file = shipped if shipped.is_file() else recipe.parent / name
    if not file.is_file():
        names = ", ".join(sorted(one.stem for one in DATA.glob("*.toml")))
        raise OptionError(f"{recipe}: data = {name!r}: no such file beside the recipe, and shipped is {names}")
    return file, _read(file)


def _check_photo(pattern: str, *, origin: str) -> None:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise OptionError(f"{origin}: photo = {pattern!r}: not a regular expression ({error})") from error
    if pattern and groups == 0:
        raise OptionError(
            f"{origin}: photo = {pattern!r}: has no group; put the part that names the source photograph in ( )"
        )


def _is_range(values: Sequence[object]) -> bool:
    match values:
        case [int() | float() as finest, int() | float() as coarsest]:
            return 0 < finest <= coarsest <= _ANY
    return False


def _checked(kind: type[Any], values: Mapping[str, Any], *, origin: str) -> Any:
    known = {f.name: f for f in dataclasses.fields(kind) if f.name not in _NO_KEYS}
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
    for key, choices in _CHOICES.items():
        if getattr(recipe, key) not in choices:
            listed = ", ".join(map(repr, choices))
            raise OptionError(f"{origin}: {key} = {getattr(recipe, key)!r}: expected one of {listed}")
    _in_range(recipe, _RANGES, origin=origin)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", recipe.name):
        raise OptionError(f"{origin}: name = {recipe.name!r}: expected letters, digits, '.', '_' and '-'")
    if recipe.head_epochs + recipe.epochs == 0:
        raise OptionError(f"{origin}: head_epochs and epochs: expected one epoch at least")
    if recipe.synthetic + recipe.wide > 1:
        raise OptionError(f"{origin}: synthetic + wide = {recipe.synthetic + recipe.wide:g}: expected 1 at most")
    if recipe.augment == "flip" and recipe.canvas_px != TILE:
        raise OptionError(
            f"{origin}: canvas_px = {recipe.canvas_px}: augment = 'flip' shows single tiles, expected {TILE}"
        )


def _in_range(values: Recipe | SetUse, ranges: Mapping[str, tuple[float, float]], *, origin: str) -> None:
    for key, (low, high) in ranges.items():
        value = getattr(values, key)
        if not low <= value <= high:  # also refuses what is not a number
            limit = f"at least {low:g}" if high == _ANY else f"{low:g} to {high:g}"
            if high == _ANY and not value < low:
                limit = f"a finite number, {limit}"
            raise OptionError(f"{origin}: {key} = {value}: expected {limit}")


def _refuse_idle(keys: Set[str], recipe: Recipe, *, origin: str) -> None:
    """A value that somebody set and that nothing would look at is a mistake."""
    for key in _ONLY_WITH.keys() & keys:
        decider, wanted = _ONLY_WITH[key]
        found = getattr(recipe, decider)
        if found not in wanted:
            only = " or ".join(map(repr, wanted))
            raise OptionError(f"{origin}: {key} has no effect with {decider} = {found!r}, only with {only}")
