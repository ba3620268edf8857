"""The scan beside its peers, measured in one run.

    python -m crackedge.benchmarks.peers [PART ...] [--rounds N] [--json FOLDER]

Each peer gets the same ``.tflite`` file, the same frames and the same number of threads. Ways take turns, and ratios
are formed within a round. Libraries live in environments of their own, which are made on first use under the user's
cache directory; a peer that cannot be had is skipped by name.
"""

from __future__ import annotations

import datetime
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from crackedge.benchmarks.footage import scene_frames
from crackedge.benchmarks.machine import describe_machine, format_machine
from crackedge.benchmarks.peers import frame_parts, whole_run
from crackedge.benchmarks.peers.cold_start import cold_start
from crackedge.benchmarks.peers.environment import environment_python
from crackedge.benchmarks.peers.frame_parts import HALF_OVERLAP, Bench, Part
from crackedge.benchmarks.peers.growth import growth, growth_plot
from crackedge.benchmarks.peers.target import format_part, missed
from crackedge.benchmarks.program import PROOF_FAILED, errors_in_a_line, write_figures
from crackedge.edge_runtime.errors import MissingExtraError
from crackedge.edge_runtime.lattice import CELL
from crackedge.edge_runtime.models.model import DEFAULT_MODEL, Model, open_model

SCHEMA = 1
LEAST_OF_NAIVE = {HALF_OVERLAP: 3.3, CELL: 30.0}  # by stride
LEAST_OF_SLICERS = 3.0
LEAST_OF_OPENVINO = {"nano": 0.85, "base": 1.2}
MOST_OF_INVOKE = 1.10


@dataclass(frozen=True)
class Measurement:
    """What the parts draw on; made when a part first wants it.

    Attributes:
        model: name of a shipped model, or a file.
        folder: for files of the measurement.
        threads: of each interpreter.
        rounds: of each part; None for its own number.
        frames: of the scene's clip.
        clip: a video for whole runs in place of the scene's.
        python_of: the Python that has a peer; raises MissingExtraError.
        progress: is told what is being done.
    """

    model: str
    folder: Path
    threads: int
    rounds: int | None
    frames: int
    clip: Path | None
    progress: Callable[[str], None]
    python_of: Callable[[str], Path] = environment_python

    @cached_property
    def opened(self) -> Model:
        """The model."""
        return open_model(self.model)

    @cached_property
    def bench(self) -> Bench:
        """Frames in memory."""
        pictures = tuple(scene_frames(count=2))
        return Bench(self.opened, pictures, self.folder, self.threads, self.python_of, self.progress)

    @cached_property
    def trial(self) -> whole_run.Trial:
        """A video."""
        if self.clip is None:
            self.progress(f"render {self.frames} frames")
            clip, frames = self.folder / "scene.mp4", self.frames
            whole_run.write_scene(clip, frames=frames)
        else:
            clip, frames = self.clip, whole_run.count_frames(self.clip)
        return whole_run.Trial(self.opened, clip, frames, self.folder, self.threads, self.python_of, self.progress)

    def turns(self, usual: int) -> int:
        """How many rounds a part has."""
        return self.rounds or usual


def _naive(m: Measurement) -> Iterator[Part]:
    for stride, rounds in ((HALF_OVERLAP, 25), (CELL, 3)):
        yield frame_parts.naive(m.bench, rounds=m.turns(rounds), stride=stride, at_least=LEAST_OF_NAIVE[stride])


def _supervision(m: Measurement) -> Iterator[Part]:
    yield frame_parts.slicer(m.bench, "supervision", rounds=m.turns(25), at_least=LEAST_OF_SLICERS)


def _sahi(m: Measurement) -> Iterator[Part]:
    yield frame_parts.slicer(m.bench, "sahi", rounds=m.turns(25), at_least=LEAST_OF_SLICERS)


def _interpreter(m: Measurement) -> Iterator[Part]:
    yield frame_parts.interpreter(m.bench, rounds=m.turns(50), at_most=MOST_OF_INVOKE)


def _openvino(m: Measurement) -> Iterator[Part]:
    for name in LEAST_OF_OPENVINO if m.model == DEFAULT_MODEL else [m.model]:
        bench = replace(m.bench, model=open_model(name))
        yield frame_parts.openvino(bench, rounds=m.turns(25), at_least=LEAST_OF_OPENVINO.get(name))


def _run(m: Measurement) -> Iterator[Part]:
    yield whole_run.whole_run(m.trial, "run", peers=["naive"], video=True, rounds=m.turns(3))
    yield whole_run.whole_run(m.trial, "run-no-video", peers=["naive"], video=False, rounds=m.turns(1))


def _run_libraries(m: Measurement) -> Iterator[Part]:
    yield whole_run.whole_run(m.trial, "run-libraries", peers=["supervision", "sahi"], video=True, rounds=m.turns(1))


def _overlap(m: Measurement) -> Iterator[Part]:
    yield whole_run.overlap(m.trial, rounds=m.turns(2))


def _cold_start(m: Measurement) -> Iterator[Part]:
    starts, picture = m.turns(11), m.bench.pictures[0]
    yield cold_start(m.opened, picture, folder=m.folder, starts=starts, threads=m.threads, progress=m.progress)


def _growth(m: Measurement) -> Iterator[Part]:
    yield growth(m.opened, rounds=m.turns(11), progress=m.progress)


PARTS: dict[str, tuple[str, Callable[[Measurement], Iterator[Part]]]] = {
    "naive": ("one pass against the loop over tiles, at half overlap and at stride 32", _naive),
    "supervision": ("one pass against supervision.InferenceSlicer", _supervision),
    "sahi": ("one pass against sahi.get_sliced_prediction", _sahi),
    "interpreter": ("a scan against the interpreter's bare invoke", _interpreter),
    "openvino": ("a scan against OpenVINO's bare inference", _openvino),
    "run": ("crackedge run against the script that people write, with and without video", _run),
    "run-libraries": ("the same with supervision and sahi in the script; only where asked for", _run_libraries),
    "overlap": ("a run against its slowest stage and the cores there are", _overlap),
    "cold-start": ("process start to first result", _cold_start),
    "growth": ("cost by megapixels, threads and stride", _growth),
}

USUAL = [name for name in PARTS if name != "run-libraries"]  # which takes as long as all the others


def measure(measurement: Measurement, names: list[str], *, told: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """The parts one by one, ready to be written as JSON, machine and all.

    Args:
        measurement: what they draw on.
        names: of :data:`PARTS`.
        told: is given a line for each part that is skipped.

    Raises:
        CrackedgeError: a part failed.
    """
    machine = describe_machine()
    for name in names:
        measurement.progress(name)
        try:
            for part in PARTS[name][1](measurement):
                now = datetime.datetime.now(datetime.timezone.utc)
                yield {"schema": SCHEMA, **part, "measured_at": now.isoformat(timespec="seconds"), "machine": machine}
        except MissingExtraError as error:
            told(f"skipped {name}: {error}")


@click.command(
    help="The scan beside its peers: same file, same frames, same threads, in turns.\n\n\b\n"
    + "\n".join(f"{name:15}{words}" for name, (words, _) in PARTS.items())
)
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)), metavar="[PART]...")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name of a shipped model, or a .tflite file.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(min=1), help="Of every interpreter.")
@click.option("--rounds", type=click.IntRange(min=1), help="Of every part [default: each part's own].")
@click.option("--frames", default=300, show_default=True, type=click.IntRange(min=2), help="Of the scene's video.")
@click.option("--clip", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Run over this instead.")
@click.option(
    "--json",
    "json_folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Write a file for each part into this folder, with all samples.",
)
def main(
    parts: tuple[str, ...],
    model: str,
    threads: int,
    rounds: int | None,
    frames: int,
    clip: Path | None,
    json_folder: Path | None,
) -> None:
    """Measure, print, write; exit 5 when a target was missed, 1 when something failed or nothing could be measured."""
    failures: list[str] = []
    measured = 0

    def say(line: str) -> None:
        click.echo(line, err=True)

    say(format_machine(describe_machine()))
    with tempfile.TemporaryDirectory(prefix="crackedge-peers-") as folder:
        measurement = Measurement(model, Path(folder), threads, rounds, frames, clip, lambda line: say(f"{line} ..."))
        with errors_in_a_line():
            for part in measure(measurement, list(dict.fromkeys(parts)) or USUAL, told=say):
                click.echo(f"\n{format_part(part)}")
                measured += 1
                failures += missed(part)
                if json_folder is not None:
                    name = f"peers_{part['part']}".replace("-", "_")
                    write_figures(json_folder / f"{name}.json", part)
                    if part["part"] == "growth":
                        (json_folder / f"{name}.svg").write_text(growth_plot(part), encoding="utf-8")
    for line in failures:
        click.echo(f"Error: {line}", err=True)
    if not measured:
        sys.exit(1)
    if failures:
        sys.exit(PROOF_FAILED)


if __name__ == "__main__":
    main()
