"""The two ways to scan a frame: tile by tile, and the whole frame in one pass."""

from __future__ import annotations

import time
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.errors import ModelError, OptionError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.interpreter import Interpreter, PixelWriter, check_threads
from crackedge.edge_runtime.model import Model
from crackedge.edge_runtime.scoremap import ScoreMap, score_map

ENGINES = ("auto", "tiles", "dense")
DENSE_STRIDE = 32  # px
TILES_STRIDE = 128  # px
TILES_BATCH = 8
_CERTAIN = 1e-6  # a classifier's probabilities are kept this far from 0 and 1, so that their logits are finite
_ROUNDING = 0.02  # a quantised softmax misses 1 by a few of its 1/256 steps


class Engine(Protocol):
    """Scans frames. Not for use by two threads at once.

    Attributes:
        name: ``"tiles"`` or ``"dense"``.
        stride: distance between windows in pixels.
        threads: threads of the interpreter.
        runtime: package and version of the interpreter.
        timing_ms: of the last call: ``prepare`` (pixels into the network) and ``invoke`` (the network itself).
    """

    name: str
    stride: int
    threads: int
    runtime: str
    timing_ms: dict[str, float]

    def __call__(self, image: Image) -> ScoreMap:
        """The score map of an (H, W, 3) uint8 RGB image of any size."""
        ...


def engine_name(model: Model, engine: str = "auto") -> str:
    """Which engine runs a model: ``"tiles"`` or ``"dense"``; ``auto`` goes by the card and never by timing.

    Raises:
        OptionError: there is no such engine, or it cannot run this model.
    """
    if engine not in ENGINES:
        raise OptionError(f"engine {engine!r}: expected one of {', '.join(ENGINES)}")
    one_pass = model.card.head == "logit-map"
    if engine == "dense" and not one_pass:
        raise OptionError(f"engine 'dense' needs a logit map, and {model.path} is a classifier; use tiles or auto")
    if engine == "auto":
        return "dense" if one_pass else "tiles"
    return engine


def make_engine(
    model: Model, *, engine: str = "auto", stride: int | None = None, threads: int | None = None
) -> DenseEngine | TilesEngine:
    """The engine for a model, with its own interpreter.

    Args:
        model: from :func:`crackedge.edge_runtime.model.open_model`.
        engine: ``"auto"``, ``"tiles"`` or ``"dense"``.
        stride: distance between windows in pixels, a multiple of 32 up to 224; 32 for dense, 128 for tiles.
        threads: of the interpreter; the usable processors, at most four.

    Raises:
        OptionError: an option has a value that cannot be used.
        ModelError: the model does not run.
    """
    if engine_name(model, engine) == "dense":
        return DenseEngine(model, threads=threads, stride=DENSE_STRIDE if stride is None else stride)
    return TilesEngine(model, threads=threads, stride=TILES_STRIDE if stride is None else stride)


def check_image(image: object) -> Image:
    """The image, when it is one: (H, W, 3) uint8.

    Raises:
        OptionError: it is something else, said by name.
    """
    if not isinstance(image, np.ndarray):
        raise OptionError(f"image of type {type(image).__name__}; expected a numpy array (H, W, 3) uint8, RGB")
    found = f"image of shape {image.shape} and type {image.dtype}"
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        raise OptionError(f"{found} is grey; expected (H, W, 3) uint8 RGB: cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)")
    if image.ndim == 3 and image.shape[2] == 4:
        raise OptionError(f"{found} has four channels; expected (H, W, 3) uint8 RGB: drop alpha, and mind the order")
    if image.ndim != 3 or image.shape[2] != 3:
        raise OptionError(f"{found}; expected (H, W, 3) uint8 RGB, one picture")
    if image.dtype != np.uint8:
        raise OptionError(f"{found}; expected uint8, values 0 to 255")
    if image.size == 0:
        raise OptionError(f"{found} is empty; expected at least one pixel")
    return image


class DenseEngine:
    """The whole frame in one pass of a fully convolutional network; a window is the mean of its 49 logits."""

    def __init__(self, model: Model, *, threads: int | None = None, stride: int = DENSE_STRIDE) -> None:
        self.name = engine_name(model, "dense")
        self.stride = stride
        self.threads = check_threads(threads)
        self.timing_ms: dict[str, float] = {}
        self._step = lattice.stride_cells(stride)
        self._calibration = model.card.engine_calibration(self.name)
        self._network = Interpreter(model.flatbuffer, threads=self.threads, origin=str(model.path))
        self._write = _frame_writer(self._network)
        self.runtime = self._network.runtime

    def __call__(self, image: Image) -> ScoreMap:
        """The score map of an (H, W, 3) uint8 RGB image of any size."""
        started = time.perf_counter()
        height, width = lattice.padded_hw(*check_image(image).shape[:2])
        self._network.resize(1, height, width)
        self._write(image, self._network.input()[0])
        prepared = time.perf_counter()
        output = self._network.invoke()
        invoked = time.perf_counter()
        self.timing_ms = {"prepare": (prepared - started) * 1e3, "invoke": (invoked - prepared) * 1e3}
        _expect(output.shape, (1, height // lattice.CELL, width // lattice.CELL, 1))
        logits = output[0, :, :, 0]
        rows = lattice.window_starts(logits.shape[0], self._step)
        cols = lattice.window_starts(logits.shape[1], self._step)
        means = np.ascontiguousarray(lattice.window_means(logits)[np.ix_(rows, cols)])
        return score_map(logits, means, row_starts=rows, col_starts=cols, calibration=self._calibration)


class TilesEngine:
    """Window by window, in batches. A cell's logit is the mean over the windows that cover it.

    Of a logit map each window gives its 49 cells their own logits; a plain classifier gives them the window's.
    """

    def __init__(
        self, model: Model, *, threads: int | None = None, stride: int = TILES_STRIDE, batch: int = TILES_BATCH
    ) -> None:
        if batch < 1:
            raise OptionError(f"batch {batch}: expected at least 1")
        self.name = engine_name(model, "tiles")
        self.stride = stride
        self.threads = check_threads(threads)
        self.timing_ms: dict[str, float] = {}
        self._model = model
        self._batch = batch
        self._step = lattice.stride_cells(stride)
        self._calibration = model.card.engine_calibration(self.name)
        self._network = Interpreter(model.flatbuffer, threads=self.threads, origin=str(model.path))
        self._write = self._network.pixel_writer(model.input_range or (0.0, 255.0))
        side = lattice.WINDOW_CELLS
        self._output_of_tile = (side, side, 1) if self._network.output_is_map else self._network.output_shape[1:]
        self.runtime = self._network.runtime

    def __call__(self, image: Image) -> ScoreMap:
        """The score map of an (H, W, 3) uint8 RGB image of any size."""
        started = time.perf_counter()
        padded = lattice.pad(check_image(image))
        cells_hw = padded.shape[0] // lattice.CELL, padded.shape[1] // lattice.CELL
        rows = lattice.window_starts(cells_hw[0], self._step)
        cols = lattice.window_starts(cells_hw[1], self._step)
        corners = [(int(y), int(x)) for y in rows * lattice.CELL for x in cols * lattice.CELL]
        batch = self._room_for(len(corners))
        invoke_s = 0.0
        outputs = []
        for first in range(0, len(corners), batch):
            chunk = corners[first : first + batch]
            _write_tiles(padded, chunk, self._network.input(), self._write)
            before = time.perf_counter()
            output = self._network.invoke()
            invoke_s += time.perf_counter() - before
            _expect(output.shape, (batch, *self._output_of_tile))
            outputs.append(output[: len(chunk)])  # a last, partial batch leaves old tiles behind it
        total_s = time.perf_counter() - started
        self.timing_ms = {"prepare": (total_s - invoke_s) * 1e3, "invoke": invoke_s * 1e3}

        logits = np.concatenate(outputs)
        if not self._network.output_is_map:
            logits = _classifier_logits(logits, crack_index=self._model.crack_index, origin=str(self._model.path))
        side = lattice.WINDOW_CELLS if self._network.output_is_map else 1
        logits = logits.reshape(len(rows), len(cols), side, side)
        cells = _mean_of_covering(logits, rows, cols, cells_hw)
        means = logits.mean(axis=(2, 3), dtype=np.float64).astype(np.float32)
        return score_map(cells, means, row_starts=rows, col_starts=cols, calibration=self._calibration)

    def _room_for(self, tiles: int) -> int:
        """Resize the network for even batches, or for single tiles where the file has its batch baked in."""
        batches = -(-tiles // self._batch)
        batch = -(-tiles // batches)
        try:
            self._network.resize(batch, lattice.TILE, lattice.TILE)
        except ModelError:
            if batch == 1:
                raise
            batch = self._batch = 1
            self._network.resize(1, lattice.TILE, lattice.TILE)
        return batch


def _expect(found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if found != expected:
        raise ModelError(f"the network gave an output of shape {found}, expected {expected}; export the model again")


def _mean_of_covering(
    logits: npt.NDArray[np.float32],
    rows: npt.NDArray[np.intp],
    cols: npt.NDArray[np.intp],
    cells_hw: tuple[int, int],
) -> npt.NDArray[np.float32]:
    """Each cell's mean over the windows that cover it: (ny, nx, 7, 7) or (ny, nx, 1, 1) to (rows, cols) float32."""
    side = lattice.WINDOW_CELLS
    everywhere = np.broadcast_to(logits, (len(rows), len(cols), side, side))
    sums, counts = np.zeros(cells_hw), np.zeros(cells_hw)
    for down in range(side):  # the windows of one offset hit each cell at most once
        for right in range(side):
            cells = np.ix_(rows + down, cols + right)
            sums[cells] += everywhere[:, :, down, right]
            counts[cells] += 1
    return (sums / counts).astype(np.float32)


def _frame_writer(network: Interpreter) -> PixelWriter:
    """How a frame goes, padded, into the input tensor."""
    if network.input_dtype == np.uint8:
        return lattice.pad_into
    write = network.pixel_writer()
    return lambda image, slot: write(lattice.pad(image), slot)


def _write_tiles(padded: Image, corners: list[tuple[int, int]], slots: npt.NDArray[Any], write: PixelWriter) -> None:
    for slot, (y, x) in zip(slots, corners, strict=False):  # strict=False: a last batch may be partial
        write(padded[y : y + lattice.TILE, x : x + lattice.TILE], slot)


def _classifier_logits(output: npt.NDArray[np.float32], *, crack_index: int, origin: str) -> npt.NDArray[np.float32]:
    """Logits of being a crack, (N, 1), from probabilities (N, 1) of class 1 or (N, 2) of both."""
    worst = float(output.flat[np.abs(output - 0.5).argmax()])
    sums = output.sum(axis=1)
    if not -_ROUNDING <= worst <= 1 + _ROUNDING or (output.shape[1] == 2 and float(np.abs(sums - 1).max()) > _ROUNDING):
        raise ModelError(
            f"{origin}: output {worst:.3g} is no probability; export the classifier with its sigmoid or softmax"
        )
    crack = output[:, -1:] if crack_index == 1 else 1 - output if output.shape[1] == 1 else output[:, :1]
    kept = np.clip(crack.astype(np.float64), _CERTAIN, 1 - _CERTAIN)
    return np.log(kept / (1 - kept)).astype(np.float32)
