"""The model card: what a model file says of itself, in a ZIP appended to its flatbuffer.

TFLite's metadata convention: the interpreter reads the flatbuffer from the front and ignores the rest,
``zipfile`` reads the archive from the back. One file, ``NAME.tflite``, is all that a robot needs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crackedge.edge_runtime.errors import ModelError, OptionError

SCHEMA = 1
MEMBER = "crackedge.json"
_LARGEST = 8 * 2**20  # bytes of a card; what a few kilobytes of archive may unfold to is not trusted
# What reading an archive raises where a byte of it is wrong.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # so that the same card gives the same bytes


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Thresholds on probabilities, both in [0, 1]: of a window, and of a cell inside a cracked window."""

    window_threshold: float = 0.5
    cell_threshold: float = 0.5


@dataclass(frozen=True, slots=True)
class Calibration:
    """How one engine's logits become probabilities: ``sigmoid(scale * logit + bias)``.

    ``scale`` and ``bias`` act on the mean of a window's 49 logits, ``cell_scale`` and ``cell_bias`` on a single one.
    """

    scale: float = 1.0
    bias: float = 0.0
    cell_scale: float = 1.0
    cell_bias: float = 0.0
    operating_points: Mapping[str, OperatingPoint] = field(default_factory=lambda: {"balanced": OperatingPoint()})


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model is, what it was made of and how well it did.

    Attributes:
        name: short name, as in ``--model NAME``.
        version: version of the model, not of crackedge.
        head: ``"logit-map"`` (output N x H/32 x W/32 x 1, logits) or ``"probability"`` (N x 1 or N x 2).
        labels: names of the negative and the positive class.
        tile: window edge in pixels.
        stride: total stride of the network in pixels: the cell.
        quantization: ``"int8"``, ``"float32"``, ...
        backbone: architecture and width.
        sha256: of the flatbuffer part, hexadecimal; filled in by :func:`append_card`.
        default: the operating point used unless another is asked for.
        calibration: per engine, ``"tiles"`` and ``"dense"``.
        data_sets: each with ``name``, ``licence``, ``source``, what it was ``used_for``, and the ``model`` that learnt
            from it, where that was one of the lineage. Conflicts of licences are not judged.
        lineage: the models that the training began with or had as a teacher, and those before them: each with ``role``
            (``"weights"`` or ``"teacher"``), ``name``, ``sha256`` (of a ``.tflite`` file's flatbuffer, of a whole
            ``.keras`` file), ``training`` and ``notes`` where they are known, and ``of``: to which model of the lineage
            it was that, where not to this one.
        training: ``epochs``, ``steps``, ``batch`` and ``wall_s``, where known; without those of the lineage.
        metrics: per engine, per data set: figures with their sample counts.
        gsd_mm: finest and coarsest ground sample distance of the training pictures, millimetres of the surface to a
            pixel, over the sets whose recipe states it; without those of the lineage.
        quantization_check: parity of this file with the network that it was made from.
        golden: inputs by formula and the logits that they must give, see :mod:`crackedge.edge_runtime.models.golden`;
            empty where the file carries no such proof.
        input_dtype: type of the input tensor that a logit map must have; ``"int16"`` where the file takes no bytes.
        tools: versions of what made the file.
        notes: anything that a person should know.
    """

    name: str
    version: str = "0"
    schema: int = SCHEMA
    head: str = "logit-map"
    labels: tuple[str, str] = ("no_crack", "crack")
    tile: int = 224
    stride: int = 32
    quantization: str = "float32"
    backbone: str = "unknown"
    sha256: str = ""
    default: str = "balanced"
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    data_sets: tuple[Mapping[str, Any], ...] = ()
    lineage: tuple[Mapping[str, Any], ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    gsd_mm: tuple[float, float] | None = None
    quantization_check: Mapping[str, Any] = field(default_factory=dict)
    golden: Mapping[str, Any] = field(default_factory=dict)
    input_dtype: str = "uint8"
    tools: Mapping[str, str] = field(default_factory=dict)
    notes: str = ""

    def engine_calibration(self, engine: str) -> Calibration:
        """Calibration of an engine; the identity where the card has none."""
        return self.calibration.get(engine, Calibration())

    def operating_point(self, engine: str, name: str | None = None) -> OperatingPoint:
        """A named pair of thresholds (the card's default unless named).

        Raises:
            OptionError: the card has no such operating point.
        """
        points = self.engine_calibration(engine).operating_points
        wanted = name or self.default
        if wanted not in points:
            raise OptionError(f"operating point {wanted!r}: model {self.name} has {', '.join(sorted(points))}")
        return points[wanted]


def to_json(card: ModelCard) -> str:
    """The card as indented JSON with sorted keys."""
    return json.dumps(dataclasses.asdict(card), indent=1, sort_keys=True, ensure_ascii=False)


def from_json(text: str | bytes, *, origin: str) -> ModelCard:
    """The card in a JSON text.

    Args:
        text: the JSON.
        origin: what to name in errors, usually the file.

    Raises:
        ModelError: not a card, or one of a newer schema.
    """
    try:
        raw = json.loads(text)
        schema = int(raw["schema"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ModelError(f"{origin}: its model card is not readable ({error}); export the model again") from error
    if schema > SCHEMA:
        raise ModelError(
            f"{origin}: its model card has schema {schema}, this crackedge reads up to {SCHEMA}; upgrade crackedge"
        )
    try:
        known = {f.name for f in dataclasses.fields(ModelCard)}
        values = {key: value for key, value in raw.items() if key in known}
        for name in ("labels", "data_sets", "lineage"):  # JSON knows lists only
            if values.get(name) is not None:
                values[name] = tuple(values[name])
        if values.get("gsd_mm") is not None:
            finest, coarsest = values["gsd_mm"] = tuple(float(one) for one in values["gsd_mm"])
            if not 0 < finest <= coarsest < math.inf:
                raise ValueError(f"gsd_mm {finest:g}, {coarsest:g}")
        values["golden"] = dict(values.get("golden", {}))
        values["calibration"] = {
            engine: _calibration(calibration) for engine, calibration in values.get("calibration", {}).items()
        }
        return ModelCard(**values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{origin}: its model card is malformed ({error}); export the model again") from error


def _calibration(raw: Mapping[str, Any]) -> Calibration:
    figures = {key: float(value) for key, value in raw.items() if key != "operating_points"}
    points = {
        name: OperatingPoint(**{key: float(value) for key, value in point.items()})
        for name, point in raw["operating_points"].items()
    }
    return Calibration(**figures, operating_points=points)


def trained_on(sets: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """What a card's ``data_sets`` says of the sets of a training run's ``config.json``."""
    told = ("name", "photographs", "licence", "source")
    return tuple({"used_for": "training", **{key: one[key] for key in told}} for one in sets)


def append_card(flatbuffer: bytes, card: ModelCard) -> bytes:
    """The bytes of a model file: the flatbuffer, then a ZIP with the card, whose sha256 is set here."""
    card = dataclasses.replace(card, sha256=hashlib.sha256(flatbuffer).hexdigest())
    archive = io.BytesIO()
    told = to_json(card).encode(errors="backslashreplace")  # as halves of characters in folders' names need it
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr(zipfile.ZipInfo(MEMBER, _EPOCH), told, zipfile.ZIP_DEFLATED)
    return flatbuffer + archive.getvalue()


def split_card(data: bytes, *, origin: str) -> tuple[bytes, ModelCard | None]:
    """Flatbuffer and card of a model file's bytes; the card is None where there is none.

    Args:
        data: the whole file.
        origin: what to name in errors, usually the file.

    Raises:
        ModelError: the card is unreadable or of a newer schema, or the flatbuffer is not the one it was written for.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile as error:
        if MEMBER.encode() in data:  # the archive's directory comes last, and is what a broken copy lacks
            raise ModelError(f"{origin}: its model card is cut off; copy the file again") from error
        return data, None
    except _DAMAGE as error:
        raise ModelError(f"{origin}: its model card is damaged ({error}); copy the file again") from error
    if MEMBER not in archive.namelist():
        return data, None
    try:
        with archive.open(MEMBER) as member:
            text = member.read(_LARGEST + 1)
    except _DAMAGE as error:
        raise ModelError(f"{origin}: its model card is damaged ({error}); copy the file again") from error
    if len(text) > _LARGEST:
        raise ModelError(f"{origin}: its model card is larger than {_LARGEST // 2**20} MiB; copy the file again")
    start = min(info.header_offset for info in archive.infolist())
    card = from_json(text, origin=origin)
    flatbuffer = data[:start]
    if hashlib.sha256(flatbuffer).hexdigest() != card.sha256:
        raise ModelError(f"{origin}: the file's sha256 is not the one in its card; it is damaged, copy it again")
    return flatbuffer, card
