from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from crackedge.benchmarks.latency import scene_frames
from crackedge.benchmarks.one_pass import TileLoop, compare, format_comparison, half_overlap, main
from crackedge.edge_runtime.engine import DenseEngine
from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.model import open_model


def test_a_1080p_frame_has_153_tiles() -> None:
    assert len(half_overlap(1080, 1920)) == 153
    assert half_overlap(224, 224) == [(0, 0)]
    with pytest.raises(OptionError, match="at least 224x224"):
        half_overlap(223, 500)


@given(st.integers(224, 900), st.integers(224, 900))
def test_the_tiles_lie_inside_cover_every_pixel_and_overlap_by_half_at_least(height: int, width: int) -> None:
    corners = half_overlap(height, width)
    assert len(set(corners)) == len(corners)
    for axis, length in ((0, height), (1, width)):
        starts = sorted({corner[axis] for corner in corners})
        assert starts[0] == 0
        assert starts[-1] == length - 224
        assert all(0 < b - a <= 112 for a, b in itertools.pairwise(starts))


def test_both_ways_see_the_same_windows(tiny_model: Path) -> None:
    model = open_model(tiny_model)
    (image,) = scene_frames(width=224 + 224, height=224, count=1)
    loop = TileLoop(model, threads=1)(image)  # at x 0, 112, 224: off the lattice in the middle only
    dense = DenseEngine(model, threads=1)(image).window_scores[0]
    assert loop.shape == (3,)
    assert loop[[0, 2]] == pytest.approx(dense[[0, 7]], abs=1e-6)


def test_a_comparison_keeps_its_samples_and_its_ratio_follows_from_them(tiny_model: Path) -> None:
    frames = scene_frames(width=480, height=336, count=2)
    result = compare(open_model(tiny_model), frames=frames, rounds=5)
    assert json.loads(json.dumps(result)) == result
    assert result["ways"]["tiles"]["windows"] == 2 * 4
    assert result["ways"]["one pass"]["windows"] == (11 - 6) * (15 - 6)
    one, tiles = (result["ways"][way]["samples_ms"] for way in ("one pass", "tiles"))
    assert len(one) == len(tiles) == 5
    assert result["ratio"]["samples"] == pytest.approx(np.divide(tiles, one))
    assert result["ratio"]["min"] <= result["ratio"]["median"] <= result["ratio"]["max"]
    assert "480x336" in format_comparison(result)
    with pytest.raises(OptionError, match="0 rounds"):
        compare(open_model(tiny_model), frames=frames, rounds=0)


def test_the_command_writes_what_it_measured_and_fails_when_the_ratio_is_too_small(
    tiny_model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "one_pass.json"
    options = ["--model", str(tiny_model), "--rounds", "1"]
    done = CliRunner().invoke(main, [*options, "--json", str(file), "--at-least", "0"])
    assert done.exit_code == 0, done.output
    written = json.loads(file.read_text())
    assert (written["ways"]["tiles"]["windows"], written["ways"]["one pass"]["windows"]) == (153, 1512)
    assert written["machine"]["cores_usable"] >= 1
    assert "153" in done.output
    failed = CliRunner().invoke(main, [*options, "--at-least", "1e9"])
    assert failed.exit_code == 5
    assert "at least 1e+09 times as fast" in failed.stderr
    missing = CliRunner().invoke(main, ["--model", str(tmp_path / "none.tflite")])
    assert missing.exit_code == 1
    assert missing.stderr.startswith("Error: ")
    assert len(missing.stderr.splitlines()) == 1
