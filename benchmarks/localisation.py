"""Where a run marked a video, against where the cracks are: polylines that were drawn by eye in every 20th frame.

    python -m crackedge.benchmarks.localisation RESULTS.jsonl [--polylines FILE] [--video NAME] [--json FILE] [--check]

A stretch of crack is found when a marked cell is near, and a marked cell is far when no crack is near; near is 64 px,
from the polyline to the cell's square. A doubtful line makes cells near, but need not be found.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from crackedge.benchmarks.marks import FrameMarks, read_marks
from crackedge.benchmarks.polylines import REFERENCE, Floats, FrameCracks, read_polylines, sampled
from crackedge.benchmarks.program import PROOF_FAILED, errors_in_a_line, write_figures
from crackedge.benchmarks.table import aligned
from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.errors import DataError

SCHEMA = 1
NEAR_PX = 64
ENOUGH = 0.6  # of a frame's length of crack
TARGET_FRAMES = 0.95  # with enough of it, at least
TARGET_FAR = 0.1  # of the marked cells, at most

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class FrameFit:
    """How the marks of one frame fit its cracks.

    Attributes:
        index: of the frame.
        length_px: of all its cracks.
        found: share of that length that is near a marked cell; None without a crack.
        cells: how many are marked.
        far: how many of these are far from every crack.
    """

    index: int
    length_px: float
    found: float | None
    cells: int
    far: int


def measure(cracks: FrameCracks, marks: FrameMarks, *, index: int = 0) -> FrameFit:
    """Compare the marks of one frame with its polylines."""
    points, lengths = sampled(cracks.cracks)
    allowed, _ = sampled(cracks.doubtful)
    near = _distances(np.vstack([points, allowed]), _squares(marks)) <= NEAR_PX
    near_px, total_px = float(lengths[near[: len(points)].any(axis=1)].sum()), float(lengths.sum())
    return FrameFit(
        index=index,
        length_px=total_px,
        found=_share(near_px, total_px),
        cells=len(marks.cells),
        far=int((~near.any(axis=0)).sum()),
    )


def compare(results: Path, *, polylines: Path = REFERENCE, video: str | None = None) -> dict[str, Any]:
    """Measure a run on every frame that has polylines; ready to be written as JSON.

    Args:
        results: ``results.jsonl`` of a run over the whole video.
        polylines: the file of them.
        video: its name in there; without it, the name of the file that was run.

    Raises:
        DataError: a file cannot be read or is not what it should be, or the two do not belong together.
    """
    run = read_marks(results)
    known = read_polylines(polylines, video=video or Path(run.source).name)
    absent = sorted(set(known.frames) - set(run.frames))
    if absent:
        raise DataError(
            f"{results}: {len(absent)} of the {len(known.frames)} frames with polylines are not in it, the first is "
            f"{absent[0]}; give the results of a run over the whole of {known.name}"
        )
    fits = []
    for index, cracks in sorted(known.frames.items()):
        marks = run.frames[index]
        if marks.size_wh != known.size_wh:
            raise DataError(
                f"{results}: frame {index} has {_times(marks.size_wh)} px; expected {_times(known.size_wh)} as in "
                f"{known.name}; name the video that was run"
            )
        fits.append(measure(cracks, marks, index=index))
    return {
        "schema": SCHEMA,
        "video": known.name,
        "model": {"name": run.model, "sha256": run.sha256},
        "plan": run.plan,
        "near_px": NEAR_PX,
        "enough": ENOUGH,
        **_summary(fits),
        "frames": [asdict(fit) for fit in fits],
    }


def format_comparison(result: dict[str, Any]) -> str:
    """A comparison as a table for the terminal."""
    rows = [
        [one["index"], round(one["length_px"]), one["found"], one["cells"], _share(one["far"], one["cells"])]
        for one in result["frames"]
    ]
    return "\n".join(
        [
            f"{result['video']}, model {result['model']['name']} (sha256 {result['model']['sha256'][:12]})",
            aligned(["frame", "crack px", "found", "cells", "far"], rows),
            f"{result['frames_found']} of {result['frames_with_cracks']} frames{_bracketed(result['found_share'])} "
            f"have at least {ENOUGH:.0%} of their length of crack within {NEAR_PX} px of a marked cell "
            f"(target: at least {TARGET_FRAMES:.0%})",
            f"{result['far']} of {result['cells']} marked cells{_bracketed(result['far_share'])} lie farther than "
            f"{NEAR_PX} px from every crack (target: at most {TARGET_FAR:.0%})",
        ]
    )


@click.command(help="Where a run marked a video, against the polylines of its cracks.")
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--polylines", default=REFERENCE, type=click.Path(path_type=Path), help="Another file of polylines.")
@click.option("--video", help="Name of the video among the polylines, where the file that was run had another.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures there.")
@click.option("--check", is_flag=True, help="Exit 5 when a target is missed.")
def main(results: Path, polylines: Path, video: str | None, json_path: Path | None, check: bool) -> None:
    """Run the comparison and print it."""
    with errors_in_a_line():
        result = compare(results, polylines=polylines, video=video)
        write_figures(json_path, result)
    click.echo(format_comparison(result))
    if check and not result["targets_met"]:
        click.echo("Error: a target is missed", err=True)
        sys.exit(PROOF_FAILED)


def _summary(fits: Sequence[FrameFit]) -> dict[str, Any]:
    shares = [fit.found for fit in fits if fit.found is not None]
    found = sum(share >= ENOUGH - _ROUNDING for share in shares)
    cells, far = sum(fit.cells for fit in fits), sum(fit.far for fit in fits)
    found_share, far_share = _share(found, len(shares)), _share(far, cells)
    return {
        "frames_with_cracks": len(shares),
        "frames_found": found,
        "found_share": found_share,
        "cells": cells,
        "far": far,
        "far_share": far_share,
        "targets_met": (found_share is None or found_share >= TARGET_FRAMES - _ROUNDING)
        and (far_share is None or far_share <= TARGET_FAR + _ROUNDING),
    }


def _squares(marks: FrameMarks) -> Floats:
    """(M, 4) x0, y0, x1, y1 pixels of the cells, without what lies beyond the frame."""
    corners = np.asarray(marks.cells, np.float64).reshape(-1, 2)[:, ::-1] * lattice.CELL
    return np.hstack([corners, np.minimum(corners + lattice.CELL, marks.size_wh)])


def _distances(points: Floats, squares: Floats) -> Floats:
    """(N, M) pixels from each of N points to each of M squares, 0 inside.

    Points stand a pixel apart on a polyline, so that a square 64 px from it comes out up to 0.002 px farther.
    """
    before = squares[None, :, :2] - points[:, None]
    behind = points[:, None] - squares[None, :, 2:]
    outside = np.maximum(0.0, np.maximum(before, behind))
    return np.asarray(np.hypot(outside[..., 0], outside[..., 1]), np.float64)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _bracketed(share: float | None) -> str:
    return "" if share is None else f" ({share:.3f})"


def _times(size_wh: tuple[int, int]) -> str:
    return f"{size_wh[0]}x{size_wh[1]}"


if __name__ == "__main__":
    main()
