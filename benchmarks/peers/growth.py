"""How the cost of a scan grows: with the pixels of a frame, the threads, and the distance between windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crackedge.benchmarks.footage import scene_frames
from crackedge.benchmarks.peers.turns import Way, describe_turns, take_turns, timed
from crackedge.benchmarks.plots import Series, plot
from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.models.model import Model
from crackedge.edge_runtime.scan.scanner import Scanner

SIZES = ((640, 480), (1280, 720), (1920, 1080), (2560, 1440), (3840, 2160))  # px, 0.3 to 8.3 megapixels
STRIDES = (224, 160, 128, 96, 64, 32)  # px
THREADS = (1, 2)
STRIDE_SIZE = 1920, 1080


def growth(
    model: Model,
    *,
    rounds: int,
    sizes: Sequence[tuple[int, int]] = SIZES,
    strides: Sequence[int] = STRIDES,
    threads: Sequence[int] = THREADS,
    stride_size: tuple[int, int] = STRIDE_SIZE,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Time a frame at every size with every number of threads, and at every stride with both engines.

    Args:
        model: a logit map.
        rounds: how many of each.
        sizes: width and height in pixels.
        strides: in pixels, for both engines at ``stride_size`` with the most threads.
        threads: of the interpreter.
        stride_size: width and height in pixels.
        progress: is told what is being done.

    Raises:
        OptionError: nothing to measure.
    """
    if not sizes or not strides or not threads:
        raise OptionError("no sizes, strides or threads; expected at least one of each")
    most = max(threads)
    rows: list[dict[str, Any]] = []
    for width, height in sizes:
        progress(f"{width}x{height}")
        pictures = scene_frames(width=width, height=height, count=2)
        ways = {str(count): _way(model, pictures, threads=count) for count in threads}
        measured = describe_turns(take_turns(ways, rounds=rounds, pictures=2))
        for name, one in measured.items():
            rows.append(
                {"width": width, "height": height, "megapixels": width * height / 1e6, "threads": int(name), **one}
            )
    by_stride: list[dict[str, Any]] = []
    pictures = scene_frames(width=stride_size[0], height=stride_size[1], count=2)
    for stride in strides:
        progress(f"stride {stride}")
        ways = {name: _way(model, pictures, threads=most, engine=name, stride=stride) for name in ("dense", "tiles")}
        turns = take_turns(ways, rounds=max(3, rounds * stride // max(strides)), warmup=1, pictures=2)
        by_stride += [{"engine": name, "stride": stride, **one} for name, one in describe_turns(turns).items()]
    return {
        "part": "growth",
        "model": model.identity,
        "threads": most,
        "input": {"width": stride_size[0], "height": stride_size[1], "pictures": 2},
        "rounds": rounds,
        "by_size": rows,
        "by_stride": by_stride,
        "targets": [],
    }


def growth_plot(part: Mapping[str, Any]) -> str:
    """SVG: milliseconds of a frame over its megapixels, for each number of threads."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for one in part["by_size"]:
        threads = f"{one['threads']} thread{'' if one['threads'] == 1 else 's'}"
        lines.setdefault(threads, []).append((one["megapixels"], one["median_ms"]))
    series = [Series(name, points, dots=True) for name, points in lines.items()]
    drawn = plot(series, x_label="megapixels", y_label="ms a frame", log_x=True, from_zero=True)
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"  # a file, not part of a page


def _way(
    model: Model, pictures: Sequence[Image], *, threads: int, engine: str = "dense", stride: int | None = None
) -> Way:
    scanner = Scanner(model, engine=engine, stride=stride, threads=threads)
    return timed(lambda number: scanner(pictures[number]).score_map.window_scores.ravel())
