"""A model: one ``.tflite`` file with its card, opened and checked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.errors import ModelError, OptionError
from crackedge.edge_runtime.models import golden
from crackedge.edge_runtime.models.byte_shift import without_byte_shift
from crackedge.edge_runtime.models.card import ModelCard, split_card
from crackedge.edge_runtime.models.interpreter import Interpreter

DEFAULT_MODEL = "nano"
INPUT_RANGES = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0), "0..255": (0.0, 255.0)}
_SHIPPED = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Model:
    """An opened model file.

    Attributes:
        name: the card's name; the file's stem where there is no card.
        path: the file.
        sha256: of the whole file, card included, as ``sha256sum`` prints it.
        card: what the model says of itself, or what stands in for it.
        flatbuffer: the file without its card.
        has_card: whether the card came with the file.
        input_range: what black and white are to a float input; None where the input takes bytes.
        crack_index: which class of a classifier is the crack; a single output is the probability of class 1.
        delegate: an external delegate that its interpreters use, ``LIBRARY[,key=value...]``.
    """

    name: str
    path: Path
    sha256: str
    card: ModelCard
    flatbuffer: bytes = field(repr=False)
    has_card: bool
    input_range: tuple[float, float] | None = None
    crack_index: int = 1
    delegate: str | None = None

    def interpreter(self, *, threads: int) -> Interpreter:
        """An interpreter that computes it, without the byte shift where it begins with one: the input may be int8.

        Raises:
            ModelError: it does not run.
        """
        network = without_byte_shift(self.flatbuffer) or self.flatbuffer
        return Interpreter(network, threads=threads, origin=str(self.path), delegate=self.delegate)

    @property
    def identity(self) -> dict[str, str]:
        """Which model it is, as it stands beside every figure in JSON."""
        return {
            "name": self.name,
            "version": self.card.version,
            "file": self.path.name,
            "sha256": self.sha256,
            "quantization": self.card.quantization,
        }


def shipped_models() -> list[str]:
    """Names of the models that came with crackedge."""
    return sorted(path.stem for path in _SHIPPED.glob("*.tflite"))


def open_model(
    name_or_path: str | Path = DEFAULT_MODEL,
    *,
    input_range: str | None = None,
    crack_index: int | None = None,
    delegate: str | None = None,
) -> Model:
    """Open a model by the name of a shipped one or by its file.

    Args:
        name_or_path: ``"nano"``, or a path to a ``.tflite`` file.
        input_range: for a classifier with a float input: what its pixels run from and to, ``"0..1"``, ``"-1..1"`` or
            ``"0..255"``.
        crack_index: for a classifier: which of its two classes is the crack. Needed for two outputs; a single
            output is taken as the probability of class 1.
        delegate: an external TFLite delegate that is given the network first, ``LIBRARY[,key=value...]``.

    Raises:
        ModelError: there is no such file or delegate, it is corrupt, foreign or of a newer schema, or the interpreter
            found here does not compute what its card says it must (:mod:`crackedge.edge_runtime.models.golden`).
        OptionError: an option is missing, or does not apply to this model, or what should be a delegate is none.
    """
    path, data = read_model(name_or_path)
    origin = str(path)
    flatbuffer, card = split_card(data, origin=origin)
    network = Interpreter(flatbuffer, threads=1, origin=origin)
    effective = card or ModelCard(name=path.stem, head="probability", quantization=network.input_dtype.name)
    if effective.head == "logit-map":
        _check_logit_map(network, effective, origin)
        if input_range is not None or crack_index is not None:
            raise OptionError(f"{origin}: its card says how to run it; leave out input_range and crack_index")
        head: tuple[tuple[float, float] | None, int] = (None, 1)
    elif effective.head == "probability":
        if card is not None and card.input_dtype == "float32":
            input_range = input_range or "0..255"
        head = _classifier_head(network, input_range, crack_index, origin, has_card=card is not None)
    else:
        raise ModelError(
            f"{origin}: head {effective.head!r} in its card; this crackedge runs logit-map and probability"
        )
    model = Model(
        name=effective.name,
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        card=effective,
        flatbuffer=flatbuffer,
        has_card=card is not None,
        input_range=head[0],
        crack_index=head[1],
        delegate=delegate,
    )
    golden.check(effective, model.interpreter(threads=1), origin=origin)
    return model


def read_model(name_or_path: str | Path) -> tuple[Path, bytes]:
    """A model's file, found by its name or path, and all its bytes.

    Raises:
        ModelError: there is no such file, or it cannot be read.
    """
    path = find_model(name_or_path)
    try:
        return path, path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error


def find_model(name_or_path: str | Path) -> Path:
    """The file of a shipped model's name, or the file itself.

    Raises:
        ModelError: there is no such file.
    """
    if isinstance(name_or_path, str) and name_or_path in shipped_models():
        return _SHIPPED / f"{name_or_path}.tflite"
    path = Path(name_or_path)
    if path.is_dir():
        raise ModelError(f"{path}: a folder; expected a .tflite file")
    if not path.exists():
        names = ", ".join(shipped_models()) or "none"
        raise ModelError(f"{path}: no such model file, and no shipped model of that name (shipped: {names})")
    return path


def _check_logit_map(network: Interpreter, card: ModelCard, origin: str) -> None:
    if (card.tile, card.stride) != (lattice.TILE, lattice.CELL):
        raise ModelError(
            f"{origin}: tile {card.tile} and stride {card.stride} px in its card; "
            f"this crackedge scans {lattice.TILE} and {lattice.CELL}"
        )
    taken = "int16" if card.input_dtype == "int16" else "uint8"
    if network.input_dtype != taken or not network.output_is_map or network.output_shape[3] != 1:
        raise ModelError(
            f"{origin}: {_signature(network)}; by its card, "
            f"a logit map has input (N, H, W, 3) {taken} and output (N, H/32, W/32, 1)"
        )

    given, found = network.input_shape[1:3], network.output_shape[1:3]
    if min(given) >= lattice.TILE and found != (given[0] // lattice.CELL, given[1] // lattice.CELL):
        raise ModelError(
            f"{origin}: {found[1]}x{found[0]} logits for {given[1]}x{given[0]} px; "
            f"this crackedge scans maps of one logit for {lattice.CELL}x{lattice.CELL} px"
        )


def _classifier_head(
    network: Interpreter, input_range: str | None, crack_index: int | None, origin: str, *, has_card: bool
) -> tuple[tuple[float, float] | None, int]:
    tile = (lattice.TILE, lattice.TILE)
    shape, dtype = network.output_shape, network.input_dtype.name
    if (
        network.input_shape[1:3] != tile
        or len(shape) != 2
        or shape[1] not in (1, 2)
        or dtype not in ("uint8", "int8", "float32", *(("int16",) if has_card else ()))
    ):
        found = "its card says a classifier" if has_card else "no model card"
        raise ModelError(
            f"{origin}: {found}, and {_signature(network)}; expected a file that `crackedge export` made, or a "
            "classifier of (N, 224, 224, 3) uint8, int8 or float32 to (N, 1) or (N, 2)"
        )
    if dtype == "float32":
        if input_range not in INPUT_RANGES:
            raise OptionError(
                f"{origin}: float32 input, input_range {input_range!r}; "
                f"say what its pixels run from and to: {', '.join(INPUT_RANGES)}"
            )
    elif input_range is not None:
        raise OptionError(
            f"{origin}: input_range {input_range!r}, but its input is {dtype} and takes pixels as they are"
        )
    if crack_index is None and shape[1] == 2:
        raise OptionError(f"{origin}: two outputs: say which is the crack: crack_index 0 or 1")
    if crack_index not in (None, 0, 1):
        raise OptionError(f"{origin}: crack_index {crack_index!r}; expected 0 or 1")
    return INPUT_RANGES.get(input_range or ""), 1 if crack_index is None else crack_index


def _signature(network: Interpreter) -> str:
    return f"its network is {network.input_shape} {network.input_dtype.name} to {network.output_shape}"
