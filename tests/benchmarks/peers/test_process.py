from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackedge.benchmarks.footage import scene_frames
from crackedge.benchmarks.peers.environment import environment_folder, environment_python, is_made
from crackedge.benchmarks.peers.frame_parts import tile_job
from crackedge.benchmarks.peers.process import PeerProcess
from crackedge.benchmarks.peers.worker import corners
from crackedge.edge_runtime.errors import MissingExtraError
from crackedge.edge_runtime.models.model import open_model
from crackedge.edge_runtime.scan.scanner import Scanner

HERE = Path(sys.executable)
SIZE = 448, 352  # px, multiples of 32, so that tiles and windows lie at the same places

SaveFrames = Callable[..., Path]


@pytest.fixture
def save_frames(tmp_path: Path) -> SaveFrames:
    def save(frames: list[npt.NDArray[np.uint8]]) -> Path:
        path = tmp_path / "frames.npy"
        np.save(path, np.stack(frames))
        return path

    return save


@pytest.fixture
def fake_python(tmp_path: Path) -> Callable[[str], Path]:
    """A Python that runs a script of its own, whatever it is asked to run."""

    def make(script: str) -> Path:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make


def made_environment(peer: str) -> Path:
    try:
        folder = environment_folder(peer)
    except MissingExtraError as error:
        pytest.skip(str(error))
    if not is_made(folder):
        pytest.skip(f"no environment of {peer}: python -m crackedge.benchmarks.peers {peer}")
    return environment_python(peer)


@given(st.integers(224, 900), st.integers(224, 900), st.sampled_from([32, 112, 224]))
def test_the_tiles_lie_inside_and_cover_every_pixel(height: int, width: int, stride: int) -> None:
    places = corners(height, width, tile=224, stride=stride)
    assert len(set(places)) == len(places)
    for axis, length in ((0, height), (1, width)):
        starts = sorted({place[axis] for place in places})
        assert starts[0] == 0
        assert starts[-1] == length - 224
        assert all(0 < b - a <= stride for a, b in itertools.pairwise(starts))


def test_a_1080p_frame_has_153_tiles_at_half_overlap() -> None:
    assert len(corners(1080, 1920, tile=224, stride=112)) == 153
    assert corners(224, 224, tile=224, stride=112) == [(0, 0)]


def test_the_loop_gives_the_probabilities_of_the_tiles_engine(context_model: Path, save_frames: SaveFrames) -> None:
    model, frames = open_model(context_model), scene_frames(width=SIZE[0], height=SIZE[1], count=2)
    with (
        PeerProcess("naive", python=HERE, job=tile_job(model, threads=1, stride=32)) as peer,
        Scanner(model, engine="tiles", stride=32, threads=1) as scanner,
    ):
        assert peer.load(save_frames(frames)) == 2
        turns = [peer.turn(number) for number in (0, 1)]
        for turn, frame in zip(turns, frames, strict=True):
            assert turn.ms > 0
            assert turn.scores == pytest.approx(scanner(frame).score_map.window_scores.ravel(), abs=1e-6)
        assert turns[0].scores.tolist() != turns[1].scores.tolist()
        assert peer.versions["numpy"] == np.__version__


@pytest.mark.parametrize("library", ["supervision", "sahi"])
def test_libraries_see_the_tiles_of_the_loop(library: str, save_frames: SaveFrames) -> None:
    model, frames = open_model("nano"), scene_frames(width=620, height=341, count=1)
    job, file = tile_job(model, threads=1), save_frames(frames)
    scores = []
    for peer, python in ((library, made_environment(library)), ("naive", HERE)):
        with PeerProcess(peer, python=python, job=job) as process:
            process.load(file)
            scores.append(process.turn(0).scores)
            process.turn(0)
    assert len(scores[0]) == 5 * 3
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_openvino_computes_the_same_network(save_frames: SaveFrames) -> None:
    model, frames = open_model("nano"), scene_frames(width=640, height=352, count=1)
    with PeerProcess("openvino", python=made_environment("openvino"), job=tile_job(model, threads=1)) as process:
        process.load(save_frames(frames))
        found = process.turn(0).scores
    with Scanner(model, engine="dense", threads=1) as scanner:
        own = scanner(frames[0]).score_map.cell_logits.ravel()
    assert np.corrcoef(found, own)[0, 1] > 0.95


def test_what_a_peer_cannot_do_is_told_in_one_line(tiny_model: Path, tmp_path: Path) -> None:
    job = tile_job(open_model(tiny_model), threads=1)
    with pytest.raises(MissingExtraError, match="peer sahi: ModuleNotFoundError: No module named 'sahi'"):
        PeerProcess("sahi", python=HERE, job=job).__enter__()
    with PeerProcess("nothing", python=HERE, job=job) as peer:
        with pytest.raises(MissingExtraError, match="peer nothing: FileNotFoundError"):
            peer.load(tmp_path / "none.npy")
        with pytest.raises(MissingExtraError, match="peer nothing: IndexError"):
            peer.turn(0)  # and it goes on


def test_a_peer_that_ends_is_told_with_its_last_words(
    tiny_model: Path, fake_python: Callable[[str], Path], tmp_path: Path
) -> None:
    job: dict[str, Any] = tile_job(open_model(tiny_model), threads=1)
    with pytest.raises(MissingExtraError, match=r"peer sahi: ended with 7 \(out of luck\)"):
        PeerProcess("sahi", python=fake_python("echo out of luck >&2; exit 7"), job=job).__enter__()
    with pytest.raises(MissingExtraError, match=r"ended with -9 \(silently\)"):
        PeerProcess("sahi", python=fake_python("kill -9 $$"), job=job).__enter__()
    with pytest.raises(MissingExtraError, match="does not start"):
        PeerProcess("sahi", python=tmp_path / "absent", job=job).__enter__()


def test_a_silent_peer_is_not_waited_for_and_not_left_behind(
    tiny_model: Path, fake_python: Callable[[str], Path], tmp_path: Path
) -> None:
    script = f"echo $$ > {tmp_path / 'pid'}; exec sleep 600"
    job = tile_job(open_model(tiny_model), threads=1)
    with pytest.raises(MissingExtraError, match="no answer within 2 s"):
        PeerProcess("sahi", python=fake_python(script), job=job, answer_s=2.0).__enter__()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
