"""The dense engine: a frame, or a box of its cells, in one pass of a fully convolutional network."""

from __future__ import annotations

import time
from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Image, check_image
from crackedge.edge_runtime.lattice import CELL, CellBox
from crackedge.edge_runtime.models.interpreter import Interpreter, check_shape, check_threads
from crackedge.edge_runtime.models.model import Model
from crackedge.edge_runtime.scan.passes import MOST_CELLS, passes
from crackedge.edge_runtime.scan.scoremap import ScoreMap, score_map

DENSE_STRIDE = 32  # px

_KEPT_CELLS = MOST_CELLS * 7 // 4  # of all interpreters that are kept, some 50 kB each
_KEPT_INTERPRETERS = 8


def check_logit_map(model: Model) -> None:
    """Refuse a model that cannot scan a frame in one pass.

    Raises:
        OptionError: it is a classifier.
    """
    if model.card.head != "logit-map":
        raise OptionError(f"engine 'dense' needs a logit map, and {model.path} is a classifier; use tiles or auto")


class DenseEngine:
    """The whole frame in one pass of a fully convolutional network; a window is the mean of its 49 logits.

    Frames above 1080p take several passes (:mod:`crackedge.edge_runtime.scan.passes`). An interpreter is kept for each
    of the sizes used last: to make one costs about as much as to run it, most of it for memory.
    """

    def __init__(self, model: Model, *, threads: int | None = None, stride: int = DENSE_STRIDE) -> None:
        check_logit_map(model)
        self.name = "dense"
        self.stride = stride
        self.threads = check_threads(threads)
        self.interpreters = self.batch = 1
        self.timing_ms: dict[str, float] = {}
        self._step = lattice.stride_cells(stride)
        self._calibration = model.card.engine_calibration(self.name)
        self._model = model
        self._networks: OrderedDict[tuple[int, int], Interpreter] = (
            OrderedDict()
        )  # by size in cells, the last used last
        unsized = model.interpreter(threads=1)  # without room for any frame it costs next to nothing
        self._write = unsized.pixel_writer()
        self.runtime = unsized.runtime

    def __call__(self, image: Image) -> ScoreMap:
        """The score map of an (H, W, 3) uint8 RGB image of any size."""
        return self.scores(self.cell_logits(image))

    def cell_logits(self, image: Image, box: CellBox | None = None) -> npt.NDArray[np.float32]:
        """The logits of a box of an image's cells, scanned with a halo of context around it; sets ``timing_ms``.

        Args:
            image: (H, W, 3) uint8 RGB, of any size.
            box: row0, col0, row1, col1 on the lattice of the padded image, the last two exclusive; all of it if None.

        Returns:
            (row1 - row0, col1 - col0) float32.

        Raises:
            OptionError: the image is of another kind, or the box is empty or not within it.
        """
        height, width = check_image(image).shape[:2]
        cells_hw = lattice.cells_hw(height, width)
        row0, col0, row1, col1 = box = box or (0, 0, *cells_hw)
        pieces = passes(box, cells_hw)
        logits = np.empty((row1 - row0, col1 - col0), np.float32)
        self.timing_ms = {"prepare": 0.0, "invoke": 0.0}
        for scanned, (top, left, bottom, right) in pieces:
            down, across = scanned[0], scanned[1]
            found = self._scan(image, scanned)[top - down : bottom - down, left - across : right - across]
            logits[top - row0 : bottom - row0, left - col0 : right - col0] = found
        return logits

    def scores(self, cell_logits: npt.NDArray[np.float32]) -> ScoreMap:
        """The score map that the logits of all cells of a frame, (rows, cols) float32, stand for."""
        rows = lattice.window_starts(cell_logits.shape[0], self._step)
        cols = lattice.window_starts(cell_logits.shape[1], self._step)
        means = np.ascontiguousarray(lattice.window_means(cell_logits)[np.ix_(rows, cols)])
        return score_map(cell_logits, means, row_starts=rows, col_starts=cols, calibration=self._calibration)

    def _scan(self, image: Image, box: CellBox) -> npt.NDArray[np.float32]:
        """(rows, cols) logits of a box, with whatever lies beyond it unknown to the network."""
        started = time.perf_counter()
        top, left, bottom, right = box
        network = self._network(bottom - top, right - left)
        # The padding is less than a cell and a box 7 or more: what it reflects lies within the box.
        part = image[top * CELL : bottom * CELL, left * CELL : right * CELL]
        lattice.pad_into(part, network.input()[0], self._write)
        prepared = time.perf_counter()
        output = network.invoke()
        invoked = time.perf_counter()
        self.timing_ms["prepare"] += (prepared - started) * 1e3
        self.timing_ms["invoke"] += (invoked - prepared) * 1e3
        check_shape(output, (1, bottom - top, right - left, 1))
        return output[0, :, :, 0]

    def _network(self, rows: int, cols: int) -> Interpreter:
        """The interpreter for a size in cells. None is resized: it would keep the memory of its largest size."""
        network = self._networks.get((rows, cols))
        if network is not None:
            self._networks.move_to_end((rows, cols))
            return network
        while self._networks and (
            len(self._networks) >= _KEPT_INTERPRETERS
            or sum(r * c for r, c in self._networks) + rows * cols > _KEPT_CELLS
        ):
            self._networks.popitem(last=False)
        network = self._model.interpreter(threads=self.threads)
        network.resize(1, rows * CELL, cols * CELL)
        self._networks[rows, cols] = network
        return network
