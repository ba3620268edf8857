"""One frame in memory: the scan beside what other people would do with the same file, frame and number of threads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crackedge.benchmarks.peers.environment import environment_python
from crackedge.benchmarks.peers.process import PeerProcess
from crackedge.benchmarks.peers.target import Target, describe_target, ratio
from crackedge.benchmarks.peers.turns import Turn, Turns, Way, describe_turns, take_turns, timed
from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.errors import OptionError, ProofError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.lattice import CELL, TILE
from crackedge.edge_runtime.models.interpreter import Interpreter
from crackedge.edge_runtime.models.model import Model
from crackedge.edge_runtime.scan.scanner import Scanner

HALF_OVERLAP = TILE // 2  # px between tiles
ALIKE = 1e-4  # by how much the scores of the same tiles may differ between two processes with the same interpreter
OPENVINO_CORRELATION = 0.9  # its int8 kernels round otherwise; what is compared is still the same network

Part = dict[str, Any]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Bench:
    """What all ways of a measurement share.

    Attributes:
        model: a logit map.
        pictures: (H, W, 3) uint8 RGB, all of one size, taken in turn.
        folder: for files that are handed to peers.
        threads: of each interpreter.
        python_of: the Python that has a peer; raises MissingExtraError.
        progress: is told what is being done.
    """

    model: Model
    pictures: tuple[Image, ...]
    folder: Path
    threads: int
    python_of: Callable[[str], Path] = environment_python
    progress: Progress = lambda _: None

    def part(self, name: str, turns: Turns, targets: list[Target], **more: Any) -> Part:
        """What was measured, ready to be written as JSON."""
        height, width = self.pictures[0].shape[:2]
        return {
            "part": name,
            "model": self.model.identity,
            "threads": self.threads,
            "input": {"width": width, "height": height, "pictures": len(self.pictures)},
            "rounds": len(next(iter(turns.values()))),
            "ways": describe_turns(turns),
            "targets": [describe_target(one) for one in targets],
            **more,
        }


def naive(bench: Bench, *, rounds: int, stride: int = HALF_OVERLAP, at_least: float) -> Part:
    """One pass against the loop over tiles, and beside them our own tiles engine at the nearest stride it has."""
    own_stride = max(CELL, round(stride / CELL) * CELL)
    loop, own = f"tile loop, stride {stride}", f"tiles engine, stride {own_stride}"
    with _dense(bench) as dense, _scanner(bench, "tiles", own_stride) as tiles, _peer(bench, "naive", stride) as peer:
        ways = {"one pass": _windows(bench, dense), loop: peer.turn, own: _windows(bench, tiles)}
        turns = _take_turns(bench, ways, rounds)
        versions, runtime = peer.versions, dense.plan.runtime
    targets = [ratio(turns, loop, "one pass", at_least=at_least), ratio(turns, own, "one pass")]
    name = "naive" if stride == HALF_OVERLAP else f"naive-{stride}"
    return bench.part(name, turns, targets, runtime=runtime, versions={"naive": versions})


def slicer(bench: Bench, library: str, *, rounds: int, at_least: float) -> Part:
    """One pass against a library that slices frames, at half overlap, and beside them the loop over the same tiles.

    Raises:
        MissingExtraError: the library cannot be had.
        ProofError: library and loop did not see the same tiles.
    """
    with (
        _peer(bench, library) as peer,
        _peer(bench, "naive") as loop,
        _dense(bench) as dense,
    ):
        turns = _take_turns(
            bench, {"one pass": _windows(bench, dense), library: peer.turn, "tile loop": loop.turn}, rounds
        )
        versions, runtime = {library: peer.versions, "naive": loop.versions}, dense.plan.runtime
    off = _largest_difference(turns, library, "tile loop")
    if not off <= ALIKE:
        raise ProofError(
            f"{library}: its scores differ from the loop's by {off:.2g} on the same frame, expected at most {ALIKE:g}; "
            "it is not the same work"
        )
    targets = [ratio(turns, library, "one pass", at_least=at_least), ratio(turns, library, "tile loop")]
    return bench.part(
        library, turns, targets, runtime=runtime, versions=versions, agreement={"largest_difference": off}
    )


def interpreter(bench: Bench, *, rounds: int, at_most: float) -> Part:
    """A scan, image in and regions out, against the interpreter alone with the same pixels already in place.

    Beside them ways that do nothing, here and in another process: the cost of measuring.
    """
    with _dense(bench) as dense, _peer(bench, "nothing") as idle:
        ways: dict[str, Way] = {
            "scan": _windows(bench, dense),
            "bare invoke": _bare(bench),
            "nothing here": timed(lambda _: np.zeros(1)),
            "nothing in a peer": idle.turn,
        }
        turns = _take_turns(bench, ways, rounds)
        runtime = dense.plan.runtime
    return bench.part(
        "interpreter", turns, [ratio(turns, "scan", "bare invoke", at_most=at_most)], runtime=runtime, versions={}
    )


def openvino(bench: Bench, *, rounds: int, at_least: float | None) -> Part:
    """A scan against OpenVINO's inference of the same file, with the pixels already in place there.

    Raises:
        MissingExtraError: OpenVINO cannot be had.
        ProofError: it does not compute the same.
    """
    padded = tuple(lattice.pad(picture) for picture in bench.pictures)
    with _peer(bench, "openvino", pictures=padded) as peer, _dense(bench) as dense:
        ways = {"scan": _windows(bench, dense), "OpenVINO inference": peer.turn, "bare invoke": _bare(bench)}
        turns = _take_turns(bench, ways, rounds)
        versions, runtime = peer.versions, dense.plan.runtime
    alike = min(
        float(np.corrcoef(a.scores, b.scores)[0, 1])
        for a, b in zip(turns["OpenVINO inference"], turns["bare invoke"], strict=True)
    )
    if not alike >= OPENVINO_CORRELATION:
        raise ProofError(
            f"openvino: its logits correlate with the interpreter's by {alike:.3f}, expected at least "
            f"{OPENVINO_CORRELATION:g}; it is not the same network"
        )
    targets = [
        ratio(turns, "OpenVINO inference", "scan", at_least=at_least),
        ratio(turns, "OpenVINO inference", "bare invoke"),
    ]
    return bench.part(
        f"openvino-{bench.model.name}",
        turns,
        targets,
        runtime=runtime,
        versions={"openvino": versions},
        agreement={"correlation": alike},
    )


def tile_job(model: Model, *, threads: int, stride: int = HALF_OVERLAP) -> dict[str, Any]:
    """What a peer is told of a model.

    Raises:
        OptionError: the model is no logit map, of which alone there is one pass to compare with.
    """
    if model.card.head != "logit-map":
        raise OptionError(f"{model.path}: a classifier; peers are compared with one pass, which needs a logit map")
    calibration = model.card.engine_calibration("tiles")
    return {
        "model": str(model.path),
        "threads": threads,
        "tile": TILE,
        "stride": stride,
        "scale": calibration.scale,
        "bias": calibration.bias,
        "threshold": model.card.operating_point("tiles").window_threshold,
    }


def _take_turns(bench: Bench, ways: Mapping[str, Way], rounds: int) -> dict[str, Any]:
    return take_turns(ways, rounds=rounds, pictures=len(bench.pictures), progress=bench.progress)


def _dense(bench: Bench) -> Scanner:
    return _scanner(bench, "dense", None)


def _scanner(bench: Bench, engine: str, stride: int | None) -> Scanner:
    return Scanner(bench.model, engine=engine, stride=stride, threads=bench.threads)


def _windows(bench: Bench, scanner: Scanner) -> Way:
    return timed(lambda number: scanner(bench.pictures[number]).score_map.window_scores.ravel())


@contextlib.contextmanager
def _peer(
    bench: Bench, peer: str, stride: int = HALF_OVERLAP, *, pictures: tuple[Image, ...] | None = None
) -> Iterator[PeerProcess]:
    bench.progress(f"{peer}: environment")
    python = bench.python_of(peer)
    job = tile_job(bench.model, threads=bench.threads, stride=stride)
    file = bench.folder / f"{peer}.npy"
    np.save(file, np.stack(pictures or bench.pictures))
    with PeerProcess(peer, python=python, job=job) as process:
        process.load(file)
        yield process


def _bare(bench: Bench) -> Way:
    """The interpreter's own time for a frame, from pixels in the input tensor to logits of its cells."""
    network = Interpreter(bench.model.flatbuffer, threads=bench.threads, origin=str(bench.model.path))
    write = network.pixel_writer()
    padded = [lattice.pad(picture) for picture in bench.pictures]
    network.resize(1, *padded[0].shape[:2])
    invoke = timed(lambda _: network.invoke().ravel())

    def way(number: int) -> Turn:
        write(padded[number], network.input()[0])
        return invoke(number)

    return way


def _largest_difference(turns: Turns, one: str, other: str) -> float:
    pairs = [(a.scores, b.scores) for a, b in zip(turns[one], turns[other], strict=True)]
    if any(a.shape != b.shape for a, b in pairs):
        return float("inf")
    return max(float(np.abs(a - b).max()) for a, b in pairs)
