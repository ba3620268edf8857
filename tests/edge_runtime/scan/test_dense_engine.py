from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.errors import ModelError, OptionError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.models.card import ModelCard
from crackedge.edge_runtime.models.model import Model, open_model
from crackedge.edge_runtime.scan import dense_engine, passes
from crackedge.edge_runtime.scan.dense_engine import DenseEngine


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Model:
    return open_model(tiny_model)


@pytest.fixture(scope="module")
def context(context_model: Path) -> Model:
    return open_model(context_model)


def grain(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def in_one_pass(model: Model, image: Image) -> npt.NDArray[np.float32]:
    """The logits of a whole frame from the file as it is, however large."""
    network = model.interpreter(threads=2)
    padded = lattice.pad(image)
    network.resize(1, *padded.shape[:2])
    network.pixel_writer()(padded, network.input()[0])
    return network.invoke()[0, :, :, 0]


@settings(max_examples=40)
@given(st.data(), st.integers(1, 500), st.integers(1, 600))
def test_a_box_has_the_logits_that_it_has_in_the_frame(
    context: Model, data: st.DataObject, height: int, width: int
) -> None:
    # This network's cells see their neighbours and no farther.
    image = grain(height, width)
    rows, cols = lattice.cells_hw(height, width)
    row0, col0 = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, cols - 1))
    row1, col1 = data.draw(st.integers(row0 + 1, rows)), data.draw(st.integers(col0 + 1, cols))
    scan = DenseEngine(context, threads=1)
    whole = scan.cell_logits(image)
    assert whole.shape == (rows, cols)
    found = scan.cell_logits(image, (row0, col0, row1, col1))
    np.testing.assert_allclose(found, whole[row0:row1, col0:col1], atol=1e-5)


def test_a_large_frame_has_the_logits_of_one_pass(context: Model) -> None:
    image = grain(1500, 2100)
    scan = DenseEngine(context, threads=2)
    np.testing.assert_allclose(scan.cell_logits(image), in_one_pass(context, image), atol=1e-5)
    box = (2, 3, 45, 64)
    np.testing.assert_allclose(scan.cell_logits(image, box), scan.cell_logits(image)[2:45, 3:64], atol=1e-5)


def test_cut_pieces_of_a_shipped_model_decide_as_one_pass() -> None:
    model = open_model("nano")
    image = np.repeat(np.repeat(grain(200, 270), 8, 0), 8, 1)  # 1600 x 2160, coarse enough to be looked at
    image ^= grain(1600, 2160) >> 3
    scan = DenseEngine(model, threads=2)
    found, expected = scan.scores(scan.cell_logits(image)), scan.scores(in_one_pass(model, image))
    assert len(passes.passes((0, 0, 50, 68), (50, 68))) > 1
    point = model.card.operating_point("dense")
    cells = (found.cell_scores >= point.cell_threshold) == (expected.cell_scores >= point.cell_threshold)
    windows = (found.window_scores >= point.window_threshold) == (expected.window_scores >= point.window_threshold)
    assert min(cells.mean(), windows.mean()) >= 0.995
    assert np.ptp(expected.cell_logits) > 1


def test_scores_of_all_logits_are_the_engines_own(tiny: Model) -> None:
    scan = DenseEngine(tiny, threads=1, stride=64)
    image = grain(300, 500)
    found, expected = scan.scores(scan.cell_logits(image)), scan(image)
    for name in ("xs", "ys", "cell_logits", "window_logits", "cell_scores", "window_scores"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))


def test_few_interpreters_are_kept_and_their_memory_is_bounded(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = DenseEngine(tiny, threads=1)
    monkeypatch.setattr(dense_engine, "_KEPT_CELLS", 700)
    for width in range(224, 1024, 32):
        scan.cell_logits(grain(320, width))
        assert len(scan._networks) <= 8
        assert sum(rows * cols for rows, cols in scan._networks) <= 700
    largest = grain(1000, 1000)
    kept = scan.cell_logits(largest)
    assert list(scan._networks) == [(32, 32)]  # larger than all that is kept, and alone
    assert np.array_equal(scan.cell_logits(largest), kept)


_SCANS = """
import pathlib
import numpy as np
from crackedge.edge_runtime import Scanner

def peak_mib():
    return int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024

with Scanner("nano", threads=1) as scanner:
    for height, width in ((1080, 1920), (1920, 1080), (2160, 3840)):
        scanner(np.zeros((height, width, 3), np.uint8))
        print(peak_mib())
"""


def test_the_memory_of_a_size_is_let_go_for_another() -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc on this system")
    ran = subprocess.run([sys.executable, "-c", _SCANS], capture_output=True, text=True, timeout=120, check=True)
    landscape, portrait, cut = (int(line) for line in ran.stdout.split())
    assert portrait < landscape + 30  # an arena of either takes about 100
    assert cut < landscape + 60  # the frame itself 25


@pytest.mark.parametrize("box", [(0, 0, 0, 3), (5, 5, 4, 6), (0, 0, 11, 1), (-1, 0, 3, 3)])
def test_a_box_beside_the_frame_is_refused(tiny: Model, box: tuple[int, int, int, int]) -> None:
    with pytest.raises(OptionError, match=r"box \(.*\) of cells: expected"):
        DenseEngine(tiny, threads=1).cell_logits(grain(300, 300), box)


def test_a_network_of_another_stride_is_refused_by_name(
    write_model: Callable[..., Path], card: Callable[..., ModelCard]
) -> None:
    with pytest.raises(ModelError, match=r"14x14 logits for 224x224 px; this crackedge scans maps of one logit for 32"):
        open_model(write_model("logit-map-int8", card=card(), cell=16))
    with pytest.raises(ModelError, match=r"tile 224 and stride 16 px in its card; this crackedge scans 224 and 32"):
        open_model(write_model("logit-map-int8", card=card(stride=16), cell=16))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_a_bit(threads: int) -> None:
    model = open_model("nano")
    image = grain(480, 640)
    assert np.array_equal(
        DenseEngine(model, threads=threads).cell_logits(image), DenseEngine(model, threads=1).cell_logits(image)
    )
