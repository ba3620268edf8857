"""Outputs in parts: each readable on its own, together all that was written, and never more than is kept."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackedge.edge_runtime import OptionError
from crackedge.edge_runtime.notices import Notices
from crackedge.edge_runtime.sinks.csv_sink import CsvSink
from crackedge.edge_runtime.sinks.jsonl import JsonlSink
from crackedge.edge_runtime.sinks.marked_video import VideoSink
from crackedge.edge_runtime.sinks.rotation import KeptFiles, RotatingSink, RotationOptions
from crackedge.edge_runtime.sinks.sink import Recorded

HEADER = {"type": "header", "schema": 1}


def kept(notices: Notices | None = None, **options: float) -> KeptFiles:
    return KeptFiles(RotationOptions(**options), notices or Notices())


def records_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def parts_of(path: Path) -> list[Path]:
    """Finished parts in order, then the newest."""
    return [*sorted(path.parent.glob(f"{path.stem}-*{path.suffix}")), path]


def write_lines(path: Path, frames: range, scanned: Any, files: KeptFiles) -> None:
    with Recorded(RotatingSink(path, lambda part: JsonlSink(part, append=True), files)) as sink:
        sink.note(HEADER)
        for index in frames:
            sink.write(*scanned(index, cracks=index % 3))
        sink.finish()
        sink.note({"type": "summary"})


def test_lines_by_size(scanned: Any, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    write_lines(path, range(60), scanned, kept(part_mb=0.004))
    parts = parts_of(path)
    assert len(parts) >= 3
    assert [part.name for part in parts[:2]] == ["results-000001.jsonl", "results-000002.jsonl"]
    assert all(records_in(part)[0] == HEADER for part in parts)
    assert all(4000 <= part.stat().st_size < 5000 for part in parts[:-1])
    frames = [one["index"] for part in parts for one in records_in(part) if one["type"] == "frame"]
    assert frames == list(range(60))
    assert records_in(path)[-1] == {"type": "summary"}


def test_an_earlier_run_is_gone_on_with(scanned: Any, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    for start in (0, 30):
        write_lines(path, range(start, start + 30), scanned, kept(part_mb=0.004))
    parts = parts_of(path)
    assert [part.name for part in parts[:-1]] == [f"results-{n:06d}.jsonl" for n in range(1, len(parts))]
    records = [one for part in parts for one in records_in(part)]
    assert [one["index"] for one in records if one["type"] == "frame"] == list(range(60))
    assert sum(one["type"] == "summary" for one in records) == 2


def test_video_by_time(scanned: Any, tmp_path: Path) -> None:
    path = tmp_path / "marked.mp4"
    times_s = [number / 5 for number in range(23)]
    with RotatingSink(path, lambda part: VideoSink(part, fps=5), kept(part_s=1.0)) as sink:
        sink.note(HEADER)
        for index, time_s in enumerate(times_s):
            sink.write(*scanned(index, time_s=time_s))
        sink.finish()
    parts = parts_of(path)
    assert [part.name for part in parts] == [*(f"marked-00000{n}.mp4" for n in (1, 2, 3, 4)), "marked.mp4"]
    seen = []
    for part in parts:
        with av.open(str(part)) as container:
            pictures = list(container.decode(video=0))
            assert pictures[0].key_frame
            seen += [float(picture.time or 0) for picture in pictures]
    assert seen == pytest.approx(times_s, abs=1e-4), "each frame once, at its own time"


def test_csv_has_its_header_in_each_part(scanned: Any, tmp_path: Path) -> None:
    path = tmp_path / "cracks.csv"
    with Recorded(RotatingSink(path, CsvSink, kept(part_mb=0.0005))) as sink:
        for index in range(40):
            sink.write(*scanned(index, cracks=1))
    frames = []
    for part in parts_of(path):
        with part.open(newline="") as file:
            frames += [int(row["frame"]) for row in csv.DictReader(file)]
    assert frames == list(range(40))


def test_the_oldest_make_room_and_a_record_says_so(scanned: Any, tmp_path: Path) -> None:
    notices = Notices()
    files = kept(notices, keep_mb=0.02)  # parts of a tenth
    deleted: list[str] = []
    lines, rows = tmp_path / "results.jsonl", tmp_path / "cracks.csv"
    with (
        Recorded(RotatingSink(lines, JsonlSink, files)) as results,
        Recorded(RotatingSink(rows, CsvSink, files)) as cracks,
    ):
        for index in range(300):
            results.write(*scanned(index, cracks=1))
            cracks.write(*scanned(index, cracks=1))
            assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 20_000 + 800, "and a line of each"
            for notice in notices.take():
                assert isinstance(notice, dict)
                assert notice["type"] == "deleted"
                assert notice["bytes"] > 0
                deleted += notice["files"]
    left = {file.name for file in tmp_path.iterdir()}
    assert deleted
    assert not left & set(deleted)
    frames = [one["index"] for part in parts_of(lines) for one in records_in(part)]
    assert frames == list(range(frames[0], 300)), "what is left is the newest, without a hole"
    assert frames[0] > 100


def test_parts_of_earlier_runs_make_room_too(scanned: Any, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    for start in range(0, 200, 20):
        write_lines(path, range(start, start + 20), scanned, kept(keep_mb=0.02))
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 21_000
    newest = records_in(path)
    assert newest[-2]["index"] == 199


def test_the_oldest_of_all_outputs_of_earlier_runs_go_first(scanned: Any, tmp_path: Path) -> None:
    """Not all of one output first: each restart would take the records of what the video still shows."""
    lines, rows = tmp_path / "results.jsonl", tmp_path / "cracks.csv"
    for number in range(1, 5):
        for path, written_s in ((lines, 100 * number), (rows, 100 * number + 50)):
            part = path.with_name(f"{path.stem}-{number:06d}{path.suffix}")
            part.write_bytes(bytes(3_000))
            os.utime(part, (written_s, written_s))
    notices = Notices()
    files = kept(notices, keep_mb=0.02, part_mb=0.01)
    with RotatingSink(lines, JsonlSink, files), RotatingSink(rows, CsvSink, files):
        assert [one["files"] for one in notices.take() if isinstance(one, dict)] == [
            ["results-000001.jsonl", "cracks-000001.csv"]
        ]


def test_a_clock_that_was_set_back_does_not_make_the_newest_part_the_oldest(scanned: Any, tmp_path: Path) -> None:
    for number, written_s in enumerate((1000, 1100, 5, 10), 1):
        part = tmp_path / f"results-{number:06d}.jsonl"
        part.write_bytes(bytes(3_000))
        os.utime(part, (written_s, written_s))
    write_lines(tmp_path / "results.jsonl", range(1), scanned, kept(keep_mb=0.007, part_mb=0.0035))
    assert {file.name for file in tmp_path.iterdir()} == {
        "results-000003.jsonl", "results-000004.jsonl", "results.jsonl",
    }  # fmt: skip


def test_marked_videos_of_another_size_that_a_killed_run_left_are_parts_too(scanned: Any, tmp_path: Path) -> None:
    for name in ("marked.mp4", "marked-2.mp4", "marked-000001.mp4"):
        (tmp_path / name).write_text(name)
    with RotatingSink(tmp_path / "marked.mp4", VideoSink, kept(keep_mb=1)) as sink:
        frame, result = scanned(0)
        sink.write(frame, result)
        sink.write(replace(frame, image=frame.image[:128], index=1, time_s=0.1), result)
    assert (tmp_path / "marked-000002.mp4").read_text() == "marked.mp4"
    assert (tmp_path / "marked-000003.mp4").read_text() == "marked-2.mp4"


@given(sizes=st.lists(st.integers(0, 3_000), max_size=40), keep=st.integers(1_000, 9_000))
def test_what_is_kept_is_the_newest_that_fits(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], keep: int
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    files = kept(keep_mb=keep / 1e6)
    for number, size in enumerate(sizes):
        path = folder / f"{number:03d}"
        path.write_bytes(bytes(size))
        files.add(path, size)
    left = sorted(int(path.name) for path in folder.iterdir())
    fits: Callable[[int], bool] = lambda start: sum(sizes[start:]) <= keep  # noqa: E731
    start = min(n for n in range(len(sizes) + 1) if fits(n))
    assert left == list(range(start, len(sizes)))


def test_a_part_that_cannot_be_deleted_stays_and_is_said(tmp_path: Path) -> None:
    notices = Notices()
    files = kept(notices, keep_mb=0.001)
    (tmp_path / "a-folder").mkdir()
    files.add(tmp_path / "a-folder", 2_000)
    (warning,) = notices.take()
    assert "a-folder: cannot be deleted" in str(warning)


@pytest.mark.parametrize(
    ("options", "wrong"),
    [({"part_mb": 0.0}, "part_mb 0"), ({"part_s": -1}, "part_s -1"), ({"keep_mb": float("nan")}, "keep_mb nan"),
     ({"part_mb": 6, "keep_mb": 10}, "at most half")],
)  # fmt: skip
def test_options_that_make_no_sense(options: dict[str, float], wrong: str) -> None:
    with pytest.raises(OptionError, match=wrong):
        RotationOptions(**options)


def test_without_options_nothing_is_wanted() -> None:
    assert not RotationOptions().wanted
    assert RotationOptions(keep_mb=100).wanted
    assert RotationOptions(keep_mb=100).part_bytes == 10e6
    assert RotationOptions(part_s=60).part_bytes == float("inf")


def test_the_outputs_of_one_source_make_room_for_those_of_the_next(scanned: Any, tmp_path: Path) -> None:
    files = kept(keep_mb=0.03, part_mb=0.003)
    for number in range(12):
        folder = tmp_path / f"{number:02d}"
        folder.mkdir()
        write_lines(folder / "results.jsonl", range(20), scanned, files)
    left = sorted(tmp_path.glob("*/*.jsonl"))
    assert sum(file.stat().st_size for file in left) <= 30_000
    assert left[-1].parent.name == "11"
    assert len(list((tmp_path / "11").iterdir())) >= 2, "the last source's parts are the newest"
    assert not list((tmp_path / "00").iterdir())


def test_one_file_for_several_sources_is_never_taken_for_an_old_one(scanned: Any, tmp_path: Path) -> None:
    path, files = tmp_path / "all.jsonl", kept(keep_mb=0.02, part_mb=0.004)
    for start in range(0, 120, 20):
        write_lines(path, range(start, start + 20), scanned, files)
    assert path.exists()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 20_000
    frames = [one["index"] for part in parts_of(path) for one in records_in(part) if one["type"] == "frame"]
    assert frames == list(range(frames[0], 120))


def test_a_file_that_is_written_again_counts_once(tmp_path: Path) -> None:
    files, path = kept(keep_mb=0.001), tmp_path / "a"
    path.write_bytes(bytes(600))
    for _ in range(2):
        files.add(path, 600)
    assert path.exists()


def test_a_finished_file_counts_once(scanned: Any, tmp_path: Path) -> None:
    files = kept(keep_mb=0.02, part_mb=0.01)
    paths = [tmp_path / name for name in ("a.jsonl", "b.jsonl")]
    for path in paths:
        write_lines(path, range(34), scanned, files)
    assert [7_000 < path.stat().st_size < 10_000 for path in paths] == [True, True]


def test_a_part_that_is_set_aside_counts_once(scanned: Any, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    write_lines(path, range(90), scanned, kept(keep_mb=0.025, part_mb=0.01))
    assert [part.name for part in parts_of(path)] == ["results-000001.jsonl", "results-000002.jsonl", "results.jsonl"]
    assert 20_000 < sum(part.stat().st_size for part in parts_of(path)) < 25_000
