"""Small networks with known answers, written flatbuffer by flatbuffer: no TensorFlow, milliseconds each.

All see darkness: the logit of a black cell is +6, of a white one -6, and linear in its mean between.
"""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import numpy.typing as npt
import pytest

from crackedge.edge_runtime.models.card import Calibration, ModelCard, OperatingPoint, append_card
from crackedge.edge_runtime.models.interpreter import find_runtime

hypothesis.settings.register_profile("crackedge", deadline=None)  # machines under test are busy
hypothesis.settings.load_profile("crackedge")

LOGIT_OF_BLACK = 6.0
_TILE, _CELL = 224, 32
_CODES = {"pool": 1, "conv": 3, "dense": 9, "logistic": 14, "reshape": 22, "softmax": 25, "cast": 53, "quantize": 114}
_TYPES = {"float32": 0, "int32": 2, "uint8": 3, "int16": 7, "int8": 9}

Quantization = tuple[float, int] | None


class Network:
    """A chain of operators, each from the tensor before it to a new one."""

    def __init__(self, shape: Sequence[int], dtype: str, quantization: Quantization = None) -> None:
        self._schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="no TFLite schema here")
        self._graph = self._schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._buffers = [self._schema.BufferT()]
        self._codes: list[str] = []
        self._graph.inputs = [self._tensor(shape, dtype, quantization)]
        self._last = 0

    def _tensor(self, shape: Sequence[int], dtype: str, quantization: Quantization, data: Any = None) -> int:
        tensor = self._schema.TensorT()
        tensor.shape, tensor.type = list(shape), _TYPES[dtype]
        tensor.name = f"tensor{len(self._graph.tensors)}".encode()
        if quantization is not None:
            parameters = self._schema.QuantizationParametersT()
            parameters.scale, parameters.zeroPoint = [quantization[0]], [quantization[1]]
            tensor.quantization = parameters
        tensor.buffer = 0
        if data is not None:
            buffer = self._schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, dtype).tobytes(), np.uint8)
            tensor.buffer = len(self._buffers)
            self._buffers.append(buffer)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _then(
        self, code: str, shape: Sequence[int], dtype: str, quantization: Quantization, options: Any, *constants: int
    ) -> Network:
        operator = self._schema.OperatorT()
        if code not in self._codes:
            self._codes.append(code)
        operator.opcodeIndex = self._codes.index(code)
        operator.inputs = [self._last, *constants]
        if options is not None:
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, type(options).__name__[:-1])
            operator.builtinOptions = options
        self._last = self._tensor(shape, dtype, quantization)
        operator.outputs = [self._last]
        self._graph.operators.append(operator)
        return self

    @property
    def _end(self) -> tuple[list[int], str, Quantization]:
        tensor = self._graph.tensors[self._last]
        dtype = next(name for name, number in _TYPES.items() if number == tensor.type)
        parameters = tensor.quantization
        return list(tensor.shape), dtype, parameters and (parameters.scale[0], parameters.zeroPoint[0])

    def pool(self, side: int) -> Network:
        """Mean over squares of ``side``."""
        (n, h, w, c), dtype, quantization = self._end
        options = self._schema.Pool2DOptionsT()
        options.padding = 1  # valid
        options.strideH = options.strideW = options.filterHeight = options.filterWidth = side
        return self._then("pool", [n, h // side, w // side, c], dtype, quantization, options)

    def conv(self, weights: npt.ArrayLike, bias: float = 0.0, *, relu: bool = False) -> Network:
        """Float convolution, padded with zeros; weights (out, height, width, in)."""
        values = np.asarray(weights, np.float32)
        (n, h, w, _), dtype, _ = self._end
        options = self._schema.Conv2DOptionsT()
        options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
        options.padding, options.fusedActivationFunction = 0, int(relu)
        constants = (
            self._tensor(values.shape, dtype, None, values),
            self._tensor([len(values)], dtype, None, np.full(len(values), bias)),
        )
        return self._then("conv", [n, h, w, len(values)], dtype, None, options, *constants)

    def darkness(self, *, dense: bool, scale: float, to: Quantization) -> Network:
        """int8: -2 times the sum of the three colours, as a convolution of 1x1 or a dense layer."""
        shape, dtype, quantization = self._end
        assert quantization is not None
        weight = 2.0 * scale
        constants = (
            self._tensor([1, 3] if dense else [1, 1, 1, 3], dtype, (weight / 127, 0), np.full(3, -127)),
            self._tensor([1], "int32", (quantization[0] * weight / 127, 0), np.zeros(1)),
        )
        if dense:
            options = self._schema.FullyConnectedOptionsT()
            return self._then("dense", [shape[0], 1], dtype, to, options, *constants)
        options = self._schema.Conv2DOptionsT()
        options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
        return self._then("conv", [*shape[:3], 1], dtype, to, options, *constants)

    def dense(self, weights: npt.ArrayLike, bias: npt.ArrayLike) -> Network:
        """Float dense layer; weights (out, in)."""
        values = np.asarray(weights, np.float32)
        shape, dtype, _ = self._end
        constants = (
            self._tensor(values.shape, dtype, None, values),
            self._tensor([len(values)], dtype, None, bias),
        )
        options = self._schema.FullyConnectedOptionsT()
        return self._then("dense", [shape[0], len(values)], dtype, None, options, *constants)

    def cast(self, dtype: str) -> Network:
        """The same numbers in another type."""
        return self._then("cast", self._end[0], dtype, None, self._schema.CastOptionsT())

    def quantize(self, dtype: str, to: Quantization) -> Network:
        """The same values in another quantisation."""
        return self._then("quantize", self._end[0], dtype, to, self._schema.QuantizeOptionsT())

    def logistic(self, to: Quantization = None) -> Network:
        """Sigmoid."""
        return self._then("logistic", self._end[0], self._end[1], to, None)

    def softmax(self) -> Network:
        """Softmax over the last axis."""
        options = self._schema.SoftmaxOptionsT()
        options.beta = 1.0
        return self._then("softmax", self._end[0], self._end[1], None, options)

    def reshape(self, shape: Sequence[int]) -> Network:
        """A shape that is baked into the file."""
        options = self._schema.ReshapeOptionsT()
        options.newShape = list(shape)
        constant = self._tensor([len(shape)], "int32", None, shape)
        return self._then("reshape", shape, self._end[1], None, options, constant)

    def flatbuffer(self) -> bytes:
        """The finished file."""
        flatbuffers = pytest.importorskip("flatbuffers")
        model = self._schema.ModelT()
        model.version, model.description = 3, b"test network"
        model.buffers, model.subgraphs, model.operatorCodes = self._buffers, [self._graph], []
        self._graph.outputs = [self._last]
        for name in self._codes:
            code = self._schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = _CODES[name]
            code.version = 1
            model.operatorCodes.append(code)
        builder = flatbuffers.Builder(4096)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


_PIXEL = 1 / 127.5  # scale of an input that stands for -1..1


def logit_map_int8(*, cell: int = _CELL) -> bytes:
    """uint8 (1, 224, 224, 3) to int8 logits (1, 7, 7, 1), or more of smaller cells."""
    network = Network([1, _TILE, _TILE, 3], "uint8", (_PIXEL, 128)).pool(cell).quantize("int8", (_PIXEL, 0))
    return network.darkness(dense=False, scale=LOGIT_OF_BLACK / 6, to=(2 * LOGIT_OF_BLACK / 254, 0)).flatbuffer()


def logit_map_float(*, context: bool = False) -> bytes:
    """uint8 (1, 224, 224, 3) to float logits (1, 7, 7, 1); with context a cell also sees its neighbours."""
    slope = -2 * LOGIT_OF_BLACK / 255 / 3
    network = Network([1, _TILE, _TILE, 3], "uint8").cast("float32").pool(_CELL)
    network.conv(np.full((1, 1, 1, 3), slope), LOGIT_OF_BLACK)
    if context:
        network.conv(np.array([1, 1, 1, 1, 8, 1, 1, 1, 1]).reshape(1, 3, 3, 1) / 16)
    return network.flatbuffer()


def logit_map_int16(*, scaled: bool = True) -> bytes:
    """int16 (1, 224, 224, 3), which stands for 0 to 255, to float logits (1, 7, 7, 1)."""
    step = 255 / 32767
    network = Network([1, _TILE, _TILE, 3], "int16", (step, 0) if scaled else None).cast("float32").pool(_CELL)
    return network.conv(np.full((1, 1, 1, 3), -2 * LOGIT_OF_BLACK / 255 / 3 * step), LOGIT_OF_BLACK).flatbuffer()


def pooled_twins() -> tuple[bytes, bytes]:
    """The same float network with its head as a logit map, and after global average pooling (its logits, N x 1)."""
    rng = np.random.default_rng(5)
    features = rng.normal(0, 0.01, (16, 1, 1, 3)), rng.normal(0, 0.3, (32, 3, 3, 16))
    head, bias = rng.normal(0, 1, (1, 32)), 0.25

    def backbone() -> Network:
        network = Network([1, _TILE, _TILE, 3], "uint8").cast("float32").pool(_CELL)
        return network.conv(features[0], 0.1, relu=True).conv(features[1], 0.1, relu=True)

    map_head = backbone().conv(head.reshape(1, 1, 1, 32), bias).flatbuffer()
    return map_head, backbone().pool(7).dense(head, [bias]).flatbuffer()


def classifier(
    *,
    dtype: str = "uint8",
    columns: int = 1,
    crack_index: int = 1,
    white: float = 255.0,
    black: float = 0.0,
    logits: bool = False,
    baked_batch: bool = False,
    edge: int = _TILE,
) -> bytes:
    """A plain classifier (1, 224, 224, 3) to probabilities (1, 1) or (1, 2), without a card."""
    if dtype == "int8":
        network = Network([1, edge, edge, 3], "int8", (_PIXEL, 0)).pool(edge)
        network.darkness(dense=True, scale=LOGIT_OF_BLACK / 6, to=(2 * LOGIT_OF_BLACK / 254, 0))
        return network.logistic((1 / 256, -128)).flatbuffer()
    network = Network([1, edge, edge, 3], dtype)
    if dtype == "uint8":
        network.cast("float32")
    network.pool(edge)
    if baked_batch:
        network.reshape([1, 3])
    slope = -2 * LOGIT_OF_BLACK / (white - black)
    offset = LOGIT_OF_BLACK - slope * black
    if columns == 1:
        sign = 1 if crack_index == 1 else -1
        network.dense(np.full((1, 3), sign * slope / 3), [sign * offset])
        return network.flatbuffer() if logits else network.logistic().flatbuffer()
    weights, biases = np.zeros((columns, 3)), np.zeros(columns)
    weights[crack_index], biases[crack_index] = slope / 3, offset
    network.dense(weights, biases)
    return network.flatbuffer() if logits else network.softmax().flatbuffer()


def tiny_card(**changes: Any) -> ModelCard:
    """A card for the logit maps above."""
    points = {
        "balanced": OperatingPoint(0.5, 0.5),
        "high-recall": OperatingPoint(0.2, 0.3),
        "high-precision": OperatingPoint(0.9, 0.8),
    }
    calibration = {engine: Calibration(operating_points=points) for engine in ("tiles", "dense")}
    values: dict[str, Any] = {
        "name": "tiny",
        "version": "1",
        "quantization": "int8",
        "backbone": "mean of each cell",
        "calibration": calibration,
        "data_sets": ({"name": "none", "licence": "CC0", "source": "drawn", "use": "test"},),
        "metrics": {"tiles": {"none": {"n": 3, "accuracy": 1.0}}},
        "tools": {"crackedge": "test"},
    }
    return ModelCard(**{**values, **changes})


_KINDS: dict[str, Callable[..., bytes]] = {
    "logit-map-int8": logit_map_int8,
    "logit-map-float": logit_map_float,
    "logit-map-int16": logit_map_int16,
    "classifier": classifier,
}


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[..., Path]:
    """``write_model(kind, card=None, **options)``: writes one of :data:`_KINDS`.

    The options are those of the function that makes the flatbuffer of this kind.
    """

    def write(kind: str, *, card: ModelCard | None = None, **options: Any) -> Path:
        flatbuffer = _KINDS[kind](**options)
        path = tmp_path / f"{kind}.tflite"
        path.write_bytes(append_card(flatbuffer, card) if card else flatbuffer)
        return path

    return write


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An int8 logit map with a card, named tiny: black cells are cracks (+6), white ones are not (-6)."""
    path = tmp_path_factory.mktemp("models") / "tiny.tflite"
    path.write_bytes(append_card(logit_map_int8(), tiny_card()))
    return path


@pytest.fixture(scope="session")
def context_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float logit map whose cells see their neighbours too, so that the two engines differ at tile borders."""
    path = tmp_path_factory.mktemp("models") / "context.tflite"
    path.write_bytes(append_card(logit_map_float(context=True), tiny_card(name="context", quantization="float32")))
    return path


@pytest.fixture(scope="session")
def twins() -> tuple[bytes, bytes]:
    """Flatbuffers of one network with a logit map and with a pooled head."""
    return pooled_twins()


@pytest.fixture(scope="session")
def network_of_infinity() -> bytes:
    """Flatbuffer of a network that overflows."""
    network = Network([1, _TILE, _TILE, 3], "uint8").cast("float32").pool(_CELL)
    return network.conv(np.zeros((1, 1, 1, 3)), np.inf).flatbuffer()


@pytest.fixture
def card() -> Callable[..., ModelCard]:
    """Makes a card for the small logit maps, with changes."""
    return tiny_card


@pytest.fixture
def wrong_interpreter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[..., Any]], None]]:
    """``wrong_interpreter(wrong)``: interpreters started from now on give ``wrong(output, threads)``."""
    right: Any = pytest.importorskip("ai_edge_litert.interpreter").Interpreter

    def install(wrong: Callable[..., Any]) -> None:
        class Wrong(right):  # type: ignore[misc]
            def __init__(self, *, num_threads: int, **options: Any) -> None:
                super().__init__(num_threads=num_threads, **options)
                self.threads = num_threads

            def get_tensor(self, index: int, subgraph_index: int = 0) -> Any:
                return wrong(super().get_tensor(index, subgraph_index), self.threads)

        stand_in = types.ModuleType("ai_edge_litert.interpreter")
        stand_in.Interpreter = Wrong  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", stand_in)
        find_runtime.cache_clear()

    find_runtime.cache_clear()
    yield install
    find_runtime.cache_clear()


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root of synthetic photographs: tiles by class, with masks, with boxes; train and val of each."""
    import cv2

    from crackedge.edge_runtime.scenes.crack_shapes import draw_crack
    from crackedge.edge_runtime.scenes.surfaces import render_surface

    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(11)

    def surface() -> npt.NDArray[np.uint8]:
        return render_surface("concrete", (224, 224), rng)

    def save(path: Path, image: npt.NDArray[np.uint8]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)

    for split in ("train", "val"):
        for number in range(6):
            image = surface()
            save(root / "tiles" / split / "no_crack" / f"{number}.png", image)
            draw_crack(image, rng, width_px=6, contrast=0.6)
            save(root / "tiles" / split / "crack" / f"{number}.png", image)
            image = surface()
            mask = draw_crack(image, rng, width_px=6, contrast=0.6)
            save(root / "masked" / split / "images" / f"{number}.png", image)
            save(root / "masked" / split / "masks" / f"{number}.png", mask)
            rows, columns = np.nonzero(mask)
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            x0, y0, x1, y1 = np.array(box) / 224
            save(root / "boxed" / split / "images" / f"{number}.png", image)
            (root / "boxed" / split / "boxes").mkdir(parents=True, exist_ok=True)
            line = f"0 {(x0 + x1) / 2:.6f} {(y0 + y1) / 2:.6f} {x1 - x0:.6f} {y1 - y0:.6f}\n"
            (root / "boxed" / split / "boxes" / f"{number}.txt").write_text(line)
    return root


@pytest.fixture(scope="session")
def trained_run(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of two tiny epochs, made by the command that people type.

    It takes a minute, so it is made once for all workers of pytest-xdist: the first one makes it, the others wait.
    """
    pytest.importorskip("tensorflow", reason="the workstation's packages are not installed")
    fcntl = pytest.importorskip("fcntl", reason="files cannot be locked here")
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder = root / "trained_run"
    with (root / "trained_run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "metrics.json").exists():  # the last that a run writes
            whole = "--recipe nano --weights none --head-epochs 1 --epochs 1 --steps-per-epoch 2 --batch 2"
            done = run_crackedge("train", "--data-root", str(photographs), "-o", str(folder), *whole.split())
            assert done.returncode == 0, done.stderr
    return folder


def run_crackedge(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The program as people start it, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "crackedge", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)


@pytest.fixture(scope="session")
def crackedge() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the program and give what it printed and its exit code."""
    return run_crackedge
