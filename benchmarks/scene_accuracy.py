"""How right a model is on synthetic scenes: every crack pixel is known, and joints, stains and shadows are no cracks.

    python -m crackedge.benchmarks.scene_accuracy [--model nano] [--json FILE]

For each surface, flights over several structures are rendered to images and masks, and evaluated as any labelled set.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import cv2

from crackedge.benchmarks.data_sets import find_sets
from crackedge.benchmarks.evaluation import evaluate, format_evaluation
from crackedge.benchmarks.program import errors_in_a_line, write_figures
from crackedge.edge_runtime.models.model import DEFAULT_MODEL, Model, open_model
from crackedge.edge_runtime.scenes.scene import SceneFlight, parse_scene

SURFACES = ("concrete", "board-concrete", "asphalt", "brick", "plaster")
SEEDS = tuple(range(101, 107))
FRAMES = 4  # of each structure
APART = 15  # frames; a faster flight would show as much with fewer, and its cracks would be lost in motion blur
SIZE = "1280x720"


def measure(
    model: Model,
    *,
    engine: str = "auto",
    surfaces: Sequence[str] = SURFACES,
    seeds: Sequence[int] = SEEDS,
    frames: int = FRAMES,
    size: str = SIZE,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Evaluate a model on rendered scenes.

    Args:
        model: an opened model.
        engine: ``"auto"``, ``"tiles"`` or ``"dense"``.
        surfaces: what the structures are made of.
        seeds: one structure each, of each surface.
        frames: of each structure.
        size: of the frames, ``WIDTHxHEIGHT``.
        progress: is told each surface as it begins.

    Returns:
        An evaluation, as :func:`crackedge.benchmarks.evaluation.evaluate` gives it, with the scenes that were rendered.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for surface in surfaces:
            progress(f"render {surface}")
            for seed in seeds:
                _save_frames(flight_over(surface, seed, frames=frames, size=size), root / surface)
        progress("evaluate")
        result = evaluate(model, find_sets(root), engine=engine)
    return {**result, "scenes": {"surfaces": [*surfaces], "seeds": [*seeds], "frames": frames, "size": size}}


def flight_over(surface: str, seed: int, *, frames: int, size: str) -> SceneFlight:
    """A flight of which every :data:`APART`-th frame is evaluated."""
    return parse_scene(f"scene:{surface}?seed={seed}&frames={frames * APART}&size={size}")


def _save_frames(flight: SceneFlight, folder: Path) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(0, flight.frame_count, APART):
        stem = f"{flight.name}-{index:03}"
        _save(folder / "images" / f"{stem}.png", cv2.cvtColor(flight.frame(index).image, cv2.COLOR_RGB2BGR))
        _save(folder / "masks" / f"{stem}.png", flight.truth(index).mask)


def _save(path: Path, pixels: Any) -> None:
    if not cv2.imwrite(str(path), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise OSError(f"{path}: cannot be written")


@click.command(help="How right a model is on synthetic scenes with known cracks.")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name of a shipped model, or a .tflite file.")
@click.option("--engine", default="auto", show_default=True, type=click.Choice(["auto", "tiles", "dense"]))
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures there.")
def main(model: str, engine: str, json_path: Path | None) -> None:
    """Render, evaluate, print."""
    with errors_in_a_line():
        result = measure(open_model(model), engine=engine, progress=lambda stage: click.echo(f"{stage} ...", err=True))
        for one in result["sets"].values():
            del one["items"]  # the scenes can be rendered again
        write_figures(json_path, result)
    click.echo(format_evaluation(result))


if __name__ == "__main__":
    main()
