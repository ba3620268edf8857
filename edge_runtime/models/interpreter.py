"""One TFLite interpreter: found on this machine, given a flatbuffer, resized, filled and invoked.

Three packages carry the same interpreter. LiteRT is the one that is kept up and the only one that is fast in int8
on every processor; ``tflite-runtime`` serves boards without a LiteRT wheel; TensorFlow's own is there on workstations.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.errors import ModelError, OptionError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.lattice import PixelWriter
from crackedge.edge_runtime.models.delegate import load_delegate
from crackedge.edge_runtime.native_log import captured
from crackedge.edge_runtime.packages import installed_version
from crackedge.edge_runtime.processor import usable_cores

IDENTIFIER = b"TFL3"  # at bytes 4..8 of every TFLite flatbuffer
MAX_DEFAULT_THREADS = 4
_PACKAGES = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
    ("tensorflow", "tensorflow.lite.python.interpreter"),
)


@dataclass(frozen=True, slots=True)
class Runtime:
    """A TFLite package: its name and version, and its interpreter class."""

    label: str
    make: Any

    def start(self, flatbuffer: bytes, *, threads: int, delegates: bool, delegate: str | None = None) -> Any:
        """The package's own interpreter over a flatbuffer."""
        options: dict[str, Any] = {}
        if not delegates:
            resolvers = self._package().OpResolverType
            options["experimental_op_resolver_type"] = resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        if delegate is not None:
            options["experimental_delegates"] = [load_delegate(delegate, self._package().load_delegate)]
        return self.make(model_content=flatbuffer, num_threads=threads, **options)

    def _package(self) -> Any:
        return importlib.import_module(self.make.__module__)


@functools.cache
def find_runtime() -> Runtime:
    """The first TFLite package that can be imported, LiteRT first.

    Raises:
        ModelError: there is none; says why for each.
    """
    reasons = []
    for package, module in _PACKAGES:
        try:
            make = importlib.import_module(module).Interpreter
        except (ImportError, OSError, AttributeError) as error:  # absent, or built for another machine or numpy
            reasons.append(f"{package}: {_one_line(error)}")
            continue
        version = installed_version(package) or "(unknown version)"  # a vendor's build under another name
        return Runtime(f"{package} {version}", make)
    raise ModelError(f"no TFLite interpreter on this machine; pip install ai-edge-litert ({'; '.join(reasons)})")


def default_threads() -> int:
    """Processors that this process may use, at most four: beyond that a small network gains nothing."""
    return min(usable_cores(), MAX_DEFAULT_THREADS)


def check_threads(threads: int | None) -> int:
    """A number of threads that can be used: the one asked for, or :func:`default_threads`.

    Raises:
        OptionError: fewer than one.
    """
    if threads is None:
        return default_threads()
    if threads < 1:
        raise OptionError(f"threads {threads}: expected at least 1")
    return int(threads)


def check_shape(output: npt.NDArray[np.float32], expected: tuple[int, ...]) -> None:
    """Refuse an output of another shape than the model's kind has.

    Raises:
        ModelError: it has one.
    """
    if output.shape != expected:
        raise ModelError(
            f"the network gave an output of shape {output.shape}, expected {expected}; export the model again"
        )


class Interpreter:
    """A network of one image input and one output, ready to run.

    Args:
        flatbuffer: the model, without a card.
        threads: threads of the interpreter; always given, because unset means one.
        origin: what to name in errors, usually the file.
        delegates: whether the package's accelerated kernels (XNNPACK) may run; its built-in ones otherwise.
        delegate: an external delegate that is given the network first, ``LIBRARY[,key=value...]``.

    Attributes:
        runtime: package and version of the interpreter found, such as ``"ai-edge-litert 2.3.0"``.
        threads: threads of the interpreter.
        input_shape: shape in the file, ``(N, H, W, 3)``; what :meth:`resize` replaces.
        input_dtype: type of the input tensor.
        input_quantization: what one step of an integer input stands for, and which step is nothing; (0, 0) where there
            is none: floats, or bytes as they are.
        output_shape: shape in the file, ``(N, h, w, C)`` for a map and ``(N, C)`` for a classifier.
        output_is_map: whether the output has a place (four dimensions).
        output_dtype: type of the output tensor.
        output_step: what one step of an integer output stands for; 0 for a float output.

    Raises:
        ModelError: there is no interpreter, or it cannot read this flatbuffer, or the network is of another kind, or
            the delegate is not there or does not work.
        OptionError: what should be a delegate is none.
    """

    _announced = False  # LiteRT tells which delegate it made, once in a process

    def __init__(
        self, flatbuffer: bytes, *, threads: int, origin: str, delegates: bool = True, delegate: str | None = None
    ) -> None:
        if flatbuffer[4:8] != IDENTIFIER:
            found = f"{len(flatbuffer)} bytes, {flatbuffer[4:8]!r} at byte 4"
            raise ModelError(f"{origin}: not a TFLite file ({found}, expected {IDENTIFIER!r}); give a .tflite model")
        found_runtime = find_runtime()
        self.runtime = found_runtime.label
        self.threads = threads
        self._origin = origin
        try:
            self._impl = found_runtime.start(flatbuffer, threads=threads, delegates=delegates, delegate=delegate)
            inputs, outputs = self._impl.get_input_details(), self._impl.get_output_details()
        except (ValueError, RuntimeError) as error:
            if isinstance(error, ModelError | OptionError):
                raise
            advice = "copy or export it again" if delegate is None else f"is it made for the delegate {delegate}?"
            raise ModelError(f"{origin}: {self.runtime} cannot read it ({_one_line(error)}); {advice}") from error
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelError(
                f"{origin}: {len(inputs)} inputs and {len(outputs)} outputs; expected one image, one result"
            )
        self._input_index = int(inputs[0]["index"])
        self._output_index = int(outputs[0]["index"])
        self._output_scale, self._output_zero = outputs[0]["quantization"]
        self.output_dtype: np.dtype[Any] = np.dtype(outputs[0]["dtype"])
        self.output_step = float(self._output_scale) if np.issubdtype(self.output_dtype, np.integer) else 0.0
        self.input_shape = tuple(int(n) for n in inputs[0]["shape"])
        self.input_dtype: np.dtype[Any] = np.dtype(inputs[0]["dtype"])
        scale, zero_point = inputs[0]["quantization"]
        self.input_quantization = float(scale), int(zero_point)
        self.output_shape = tuple(int(n) for n in outputs[0]["shape"])
        self.output_is_map = len(self.output_shape) == 4
        if len(self.input_shape) != 4 or self.input_shape[3] != 3:
            raise ModelError(f"{origin}: input of shape {self.input_shape}; expected (N, H, W, 3), an RGB image")
        self._shape: tuple[int, int, int, int] | None = None

    def resize(self, batch: int, height: int, width: int) -> None:
        """Make room for ``batch`` images of this size in pixels; does nothing when that is the size already.

        Raises:
            ModelError: the network does not work at this size.
        """
        shape = (batch, height, width, 3)
        if shape == self._shape:
            return
        self._shape = None
        try:
            self._impl.resize_tensor_input(self._input_index, shape)
            with contextlib.nullcontext() if Interpreter._announced else captured():
                self._impl.allocate_tensors()
            Interpreter._announced = True
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{self._origin}: does not take an input of shape {shape} ({_one_line(error)})") from error
        self._shape = shape

    def input(self) -> npt.NDArray[Any]:
        """The input tensor itself, (N, H, W, 3) of ``input_dtype``: write into it, and let go of it before `invoke`.

        The interpreter refuses to run or resize while an array over its memory is alive.
        """
        view: npt.NDArray[Any] = self._impl.tensor(self._input_index)()
        return view

    def pixel_writer(self, input_range: tuple[float, float] = (0.0, 255.0)) -> PixelWriter:
        """How uint8 pixels go into one slot of the input tensor, (H, W, 3) of ``input_dtype``.

        Args:
            input_range: what black and white are to a float input.

        Raises:
            ModelError: an integer input does not say what its steps stand for.
        """
        if self.input_dtype == np.uint8:
            return lambda tile, slot: np.copyto(slot, tile)
        if self.input_dtype == np.int8:  # the same bytes, counted from -128
            return _write_from_minus_128
        if self.input_dtype == np.int16:  # stands for 0 to 255, by its own scale
            scale, zero_point = self.input_quantization
            if not scale:
                raise ModelError(f"{self._origin}: an int16 input without a scale; export the model again")
            steps = np.round(np.arange(256) / scale + zero_point).astype(np.int16)
            return lambda tile, slot: np.copyto(slot, steps[tile])
        low, high = input_range

        def write_floats(tile: Image, slot: npt.NDArray[Any]) -> None:
            np.multiply(tile, np.float32((high - low) / 255.0), out=slot)
            slot += np.float32(low)

        return write_floats

    def invoke(self) -> npt.NDArray[np.float32]:
        """Run the network on what the input holds.

        Returns:
            The output, dequantised, float32: (N, h, w, C) for a map, (N, C) for a classifier. A copy.

        Raises:
            ModelError: the network failed.
        """
        try:
            self._impl.invoke()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{self._origin}: the network failed ({_one_line(error)})") from error
        raw: npt.NDArray[Any] = self._impl.get_tensor(self._output_index)
        if np.issubdtype(raw.dtype, np.integer):
            return (raw.astype(np.float32) - np.float32(self._output_zero)) * np.float32(self._output_scale)
        if not np.isfinite(raw).all():  # would count as "no crack"
            raise ModelError(f"{self._origin}: the network gave values that are not numbers; export the model again")
        return raw.astype(np.float32, copy=False)


def _write_from_minus_128(tile: Image, slot: npt.NDArray[Any]) -> None:
    np.bitwise_xor(tile, 0x80, out=slot.view(np.uint8))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
