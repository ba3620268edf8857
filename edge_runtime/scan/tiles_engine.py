"""The tiles engine: window by window, in batches, for plain classifiers and for logit maps."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.errors import ModelError, OptionError
from crackedge.edge_runtime.frame import Image, check_image
from crackedge.edge_runtime.lattice import TILE
from crackedge.edge_runtime.models.interpreter import check_shape, check_threads
from crackedge.edge_runtime.models.model import Model
from crackedge.edge_runtime.scan.scoremap import ScoreMap, score_map

TILES_STRIDE = 128  # px
TILES_BATCH = 8
_CERTAIN = 1e-6  # a classifier's probabilities are kept this far from 0 and 1, so that their logits are finite
_ROUNDING = 0.02  # a quantised softmax misses 1 by a few of its 1/256 steps


class TilesEngine:
    """Window by window, in batches. A cell's logit is the mean over the windows that cover it.

    Of a logit map each window gives its 49 cells their own logits; a plain classifier gives them the window's.
    Several interpreters share the batches of a frame, each in a thread of its own; the result is the same.
    """

    def __init__(
        self,
        model: Model,
        *,
        threads: int | None = None,
        stride: int = TILES_STRIDE,
        batch: int = TILES_BATCH,
        interpreters: int = 1,
    ) -> None:
        for name, value in (("batch", batch), ("interpreters", interpreters)):
            if value < 1:
                raise OptionError(f"{name} {value}: expected at least 1")
        self.name = "tiles"
        self.stride = stride
        self.threads = check_threads(threads)
        self.interpreters, self.batch = interpreters, batch
        self.timing_ms: dict[str, float] = {}
        self._model = model
        self._step = lattice.stride_cells(stride)
        self._calibration = model.card.engine_calibration(self.name)
        self._networks = [model.interpreter(threads=self.threads) for _ in range(interpreters)]
        first = self._networks[0]
        self._write = first.pixel_writer(model.input_range or (0.0, 255.0))
        side = lattice.WINDOW_CELLS
        self._output_of_tile = (side, side, 1) if first.output_is_map else first.output_shape[1:]
        self.runtime = first.runtime

    def __call__(self, image: Image) -> ScoreMap:
        """The score map of an (H, W, 3) uint8 RGB image of any size."""
        started = time.perf_counter()
        cells_hw = lattice.cells_hw(*check_image(image).shape[:2])
        rows = lattice.window_starts(cells_hw[0], self._step)
        cols = lattice.window_starts(cells_hw[1], self._step)
        corners = [(int(y), int(x)) for y in rows * lattice.CELL for x in cols * lattice.CELL]
        outputs = np.empty((len(corners), *self._output_of_tile), np.float32)
        invoke_s = self._scan(image, corners, outputs)
        total_s = time.perf_counter() - started
        self.timing_ms = {"prepare": (total_s - invoke_s) * 1e3, "invoke": invoke_s * 1e3}

        is_map = len(self._output_of_tile) == 3
        logits = (
            outputs
            if is_map
            else _classifier_logits(outputs, crack_index=self._model.crack_index, origin=str(self._model.path))
        )
        side = lattice.WINDOW_CELLS if is_map else 1
        logits = logits.reshape(len(rows), len(cols), side, side)
        cells = _mean_of_covering(logits, rows, cols, cells_hw)
        means = logits.mean(axis=(2, 3), dtype=np.float64).astype(np.float32)
        return score_map(cells, means, row_starts=rows, col_starts=cols, calibration=self._calibration)

    def _scan(self, image: Image, corners: Sequence[tuple[int, int]], outputs: npt.NDArray[np.float32]) -> float:
        """Fill ``outputs`` with what the windows at ``corners`` give; seconds that the busiest interpreter ran."""
        batch = self._room_for(len(corners))
        firsts = range(0, len(corners), batch)

        def work(number: int) -> float:
            network = self._networks[number]
            invoke_s = 0.0
            for first in firsts[number :: len(self._networks)]:
                part = corners[first : first + batch]
                for slot, (y, x) in zip(network.input(), part, strict=False):  # a last batch may be partial
                    lattice.pad_into(image[y : y + TILE, x : x + TILE], slot, self._write)
                del slot  # the interpreter runs only when nothing looks into its memory
                before = time.perf_counter()
                found = network.invoke()
                invoke_s += time.perf_counter() - before
                check_shape(found, (batch, *self._output_of_tile))
                outputs[first : first + len(part)] = found[: len(part)]
            return invoke_s

        if len(self._networks) == 1:
            return work(0)
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(self._networks)) as pool:
            return max(pool.map(work, range(len(self._networks))))

    def _room_for(self, tiles: int) -> int:
        """Resize the networks for even batches, or for single tiles where the file has its batch baked in."""
        rounds = -(-tiles // (self.batch * len(self._networks)))
        batch = -(-tiles // (rounds * len(self._networks)))
        try:
            for network in self._networks:
                network.resize(batch, TILE, TILE)
        except ModelError:
            if batch == 1:
                raise
            self.batch = 1
            return self._room_for(tiles)
        return batch


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
