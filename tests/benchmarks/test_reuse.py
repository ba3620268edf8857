from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from crackedge.benchmarks.reuse import compare, format_results, main
from crackedge.edge_runtime.errors import OptionError, SourceError
from crackedge.edge_runtime.models.model import open_model

FLIGHT = "scene:?size=480x320&frames=14&speed=4"


def test_pixels_and_losses_are_counted_frame_by_frame(tiny_model: Path) -> None:
    result = compare(open_model(tiny_model), FLIGHT, frames=14, threads=1)
    assert json.loads(json.dumps(result)) == result
    assert (result["frames"], result["size"], result["source"]) == (14, "480x320", FLIGHT)
    assert result["fewer_pixels"] > 1
    assert 0 <= result["lost"] <= 1
    assert len(result["samples_ms"]["full"]) == len(result["samples_ms"]["reuse"]) == 14
    assert "480x320" in format_results([result])
    with pytest.raises(OptionError, match="1 frames"):
        compare(open_model(tiny_model), FLIGHT, frames=1)


def test_a_source_of_one_frame_is_refused(tiny_model: Path) -> None:
    with pytest.raises(SourceError, match=r"scene:\?size=96x64&frames=1: 1 frames; expected at least 2"):
        compare(open_model(tiny_model), "scene:?size=96x64&frames=1", threads=1)


def test_the_command_writes_what_it_measured_and_fails_where_a_limit_is_missed(
    tiny_model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "reuse.json"
    options = ["--model", str(tiny_model), "--threads", "1", "--json", str(file)]
    missed = CliRunner().invoke(main, ["scene:?size=96x64&frames=3&speed=300", *options])
    assert missed.exit_code == 5, missed.output
    assert "expected at least 3 times fewer pixels" in missed.stderr
    assert json.loads(file.read_text())["sources"][0]["frames"] == 3
    missing = CliRunner().invoke(main, ["nothing.mp4", *options])
    assert missing.exit_code == 1
    assert "Error: nothing.mp4" in missing.stderr
