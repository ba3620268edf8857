"""Options of sources: what people type is what sources are opened with."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
from click.testing import CliRunner

from crackedge.commands.source_options import given_area, given_reading, refuse_raw, source_options
from crackedge.edge_runtime.errors import OptionError, SourceError
from crackedge.edge_runtime.scan.area import Area
from crackedge.edge_runtime.sources.pipe import RawVideo
from crackedge.edge_runtime.sources.source import SourceOptions

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "results.schema.json"
Crackedge = Callable[..., "subprocess.CompletedProcess[str]"]


def typed(text: str) -> SourceOptions | Area | None:
    """What some options come to; the area where there is one."""
    found: list[SourceOptions | Area | None] = []

    @click.command()
    @source_options
    def command(**options: Any) -> None:
        found.append(given_area(options) or given_reading(options))

    done = CliRunner().invoke(command, text.split(), standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return found[0]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", {}),
        ("--size 1280x720 --fps 15", {"size_wh": (1280, 720), "fps": 15.0}),
        ("--rotate 270 --flip hv", {"rotate": 270, "flip": "hv"}),
        ("--start 90", {"start_s": 90.0}),
        ("--start 1:30 --end 2:00.5", {"start_s": 90.0, "end_s": 120.5}),
        ("--start 61:00", None),
        ("--start 1:01:00.25 --end 1:01:01", {"start_s": 3660.25, "end_s": 3661.0}),
        ("--every 5", {"every": 5}),
        ("--every 0.5s", {"every_s": 0.5}),
        ("--every .25s", {"every_s": 0.25}),
        ("--loop --realtime", {"loop": True, "realtime": True}),
        ("--no-realtime", {"realtime": False}),
        ("--raw 640x480:nv12", {"raw": RawVideo(640, 480, "nv12")}),
        ("--give-up-s 5", {"give_up_s": 5.0}),
        ("--size 1280", None),
        ("--size 0x720", None),
        ("--start 1:60", None),
        ("--start soon", None),
        ("--start -1", None),
        ("--end 0", None),
        ("--every 0", None),
        ("--every 0s", None),
        ("--every s", None),
        ("--every 2.5", None),
        ("--rotate 45", None),
        ("--flip d", None),
        ("--fps 0", None),
        ("--raw 640", None),
    ],
)
def test_what_is_typed(text: str, options: dict[str, Any] | None) -> None:
    if options is None:
        with pytest.raises((click.UsageError, ValueError)):
            typed(text)
    else:
        assert typed(text) == SourceOptions(**options)


def test_bare_frames_are_in_no_video(tmp_path: Path) -> None:
    (tmp_path / "clip.yuv").write_bytes(bytes(300))
    refuse_raw([str(tmp_path / "clip.yuv"), "-"])
    (tmp_path / "clip.MP4").write_bytes(bytes(300))
    for text in ("clip.MP4", "*.MP4", "."):
        with pytest.raises(OptionError, match=r"clip\.MP4: --raw is for bare frames, and \.MP4 is a video"):
            refuse_raw([str(tmp_path / "clip.yuv"), str(tmp_path / text)])


def test_an_area_is_read(tmp_path: Path) -> None:
    (tmp_path / "roi.json").write_text('{"ignore": [[[0, 0], [9, 0], [9, 9]]]}')
    assert typed(f"--roi {tmp_path / 'roi.json'}") == Area(ignore=(((0, 0), (9, 0), (9, 9)),))


def test_an_area_that_is_not_there_is_a_missing_file() -> None:
    with pytest.raises(SourceError, match=r"none\.json: cannot be read"):
        typed("--roi none.json")


def test_a_stretch_of_a_scene_turned_and_partly_hidden(crackedge: Crackedge, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "roi.json").write_text('{"region": [[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]], "unit": "fraction"}')
    scene = "scene:concrete?frames=50&size=320x256&cracks=1&distractors=0"
    options = f"--start 0.4 --end 0:01 --every 5 --rotate 90 --roi {tmp_path / 'roi.json'} --threshold 0.0 --no-video"
    done = crackedge("run", scene, "-o", str(tmp_path / "out"), "--model", str(tiny_model), *options.split())
    assert done.returncode == 0, done.stderr
    header, *frames, _ = map(json.loads, (tmp_path / "out" / "results.jsonl").read_text().splitlines())
    assert [(f["index"], f["time_s"]) for f in frames] == [(10, 0.4), (15, 0.6), (20, 0.8)]
    assert {(f["width"], f["height"]) for f in frames} == {(256, 320)}
    assert all(region["bbox"][2] <= 128 for f in frames for region in f["regions"])
    assert any(f["regions"] for f in frames)
    assert header["plan"]["area"]["unit"] == "fraction"
    jsonschema.validate(header, json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_an_option_that_cannot_apply_stops_the_run_before_it_begins(
    crackedge: Crackedge, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    scene = "scene:?frames=2&size=96x64"
    done = crackedge("run", scene, "--camera", "7", "--start", "0:01", "-o", str(out), "--model", str(tiny_model))
    said = "crackedge: --camera 7: --start does not apply; what is live has neither beginning nor end\n"
    assert (done.returncode, done.stderr, done.stdout) == (2, said, "")
    assert not out.exists()
