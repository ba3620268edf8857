"""Whole runs: a source, a real model, real outputs; and every way in which they end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import jsonschema
import numpy as np
import PIL.Image
import pytest

from crackedge.edge_runtime import (
    Frame,
    LiveSourceError,
    ModelError,
    OptionError,
    OutputError,
    Scanner,
    SourceError,
    open_source,
)
from crackedge.edge_runtime.records import frame_record
from crackedge.edge_runtime.runner import run
from crackedge.edge_runtime.runs import Outcome, OutputOptions, run_sources
from crackedge.edge_runtime.scan.area import Area
from crackedge.edge_runtime.sinks.rotation import RotationOptions
from crackedge.edge_runtime.sources.source import SourceOptions
from crackedge.edge_runtime.stop import StopFlag
from crackedge.edge_runtime.tally import LostOutput, Progress, Summary

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "results.schema.json").read_text())


def moving_block(number: int) -> Any:
    """A black block, a crack to the tiny model, that moves; it is out of sight in every fifth picture."""
    image = np.full((256, 320, 3), 235, np.uint8)
    if number % 5:
        image[32:200, 10 + number : 150 + number] = 0
    return image


@pytest.fixture
def clip(write_video: Any) -> Path:
    path: Path = write_video(frames=15, size_wh=(320, 256), picture=moving_block)
    return path


@pytest.fixture
def scanner(tiny_model: Path) -> Callable[[], Scanner]:
    return lambda: Scanner(tiny_model, threads=1)


def records_of(folder: Path) -> list[dict[str, Any]]:
    """All lines, each checked against the schema."""
    validator = jsonschema.Draft202012Validator(SCHEMA)
    records = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    for record in records:
        validator.validate(record)
    return records


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(picture.time or 0) for picture in container.decode(video=0)]


def test_a_video(clip: Path, scanner: Any, tmp_path: Path) -> None:
    progress: list[Progress] = []
    started: list[Any] = []
    outcome = run_sources(
        [str(clip)], scanner, output=tmp_path / "out", on_progress=progress.append, on_start=started.append
    )
    header, *frames, summary = records_of(tmp_path / "out")
    assert [frame["index"] for frame in frames] == list(range(15))
    assert times_of(tmp_path / "out" / "marked.mp4") == pytest.approx([frame["time_s"] for frame in frames], abs=1e-4)
    assert [frame["cracked"] for frame in frames] == [number % 5 != 0 for number in range(15)]
    assert header["source"]["frames"] == 15
    assert (summary["reason"], summary["frames"], summary["cracked_frames"], summary["regions"]) == ("end", 15, 12, 12)
    assert outcome.folder == tmp_path / "out"
    assert (outcome.exit_code(), outcome.exit_code(fail_on_crack=True)) == (0, 10)
    assert progress[-1].frames == progress[-1].total == 15
    assert progress[-1].remaining_s == 0
    assert "15/15 (100 %)" in str(progress[-1])
    assert [start.source.name for start in started] == ["clip"]


def test_threads_change_nothing(clip: Path, scanner: Any, tmp_path: Path) -> None:
    """The run reads ahead and writes behind; its results are those of a plain loop."""

    def bare(record: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in record.items() if key != "timing_ms"}

    run_sources([str(clip)], scanner, output=tmp_path / "out", outputs=OutputOptions(scores=True))
    with scanner() as scan, open_source(clip) as source:
        plain = [bare(frame_record(frame, scan(frame.image), scores=True)) for frame in source]
    assert [bare(record) for record in records_of(tmp_path / "out")[1:-1]] == plain


def test_images(photo: Any, scanner: Any, tmp_path: Path) -> None:
    photo("set/a.png")
    photo("set/b.jpg", np.full((50, 90, 3), 240, np.uint8))
    (tmp_path / "set" / "broken.jpg").write_bytes(b"no")
    warnings: list[str] = []
    outcome = run_sources([str(tmp_path / "set")], scanner, output=tmp_path / "out", on_warning=warnings.append)
    _, first, second, summary = records_of(tmp_path / "out")
    assert [Path(frame["file"]).name for frame in (first, second)] == ["a.png", "b.jpg"]
    assert (second["width"], second["height"]) == (90, 50)
    assert [Path(skip["file"]).name for skip in summary["skipped"]] == ["broken.jpg"]
    assert len(warnings) == 1
    assert "broken.jpg: skipped, " in warnings[0]
    assert sorted(path.name for path in (tmp_path / "out" / "marked").iterdir()) == ["a.jpg", "b.jpg"]
    assert outcome.exit_code() == 0


def test_a_photograph_that_nothing_is_to_be_looked_at_in_is_passed_over(
    photo: Any, tiny_model: Path, tmp_path: Path
) -> None:
    for name, size in (("a", (480, 640)), ("b", (640, 480)), ("c", (480, 640))):
        photo(f"set/{name}.png", np.full((*size, 3), 240, np.uint8))
    right = Area(region=(((500, 0), (640, 0), (640, 480), (500, 480)),))
    outcome = run_sources([str(tmp_path / "set")], lambda: Scanner(tiny_model, area=right), output=tmp_path / "out")
    _, first, last, summary = records_of(tmp_path / "out")
    assert [Path(frame["file"]).name for frame in (first, last)] == ["a.png", "c.png"]
    assert "nothing of a frame of 480x640 lies in it" in summary["skipped"][0]["reason"]
    assert outcome.exit_code() == 0
    with pytest.raises(OptionError, match="nothing of a frame of 480x640"):
        run_sources([str(tmp_path / "set/b.png")], lambda: Scanner(tiny_model, area=right), output=tmp_path / "b")


def test_a_first_photograph_that_nothing_is_to_be_looked_at_in(photo: Any, tiny_model: Path, tmp_path: Path) -> None:
    for name, size in (("a", (640, 480)), ("b", (480, 640)), ("c", (640, 480)), ("d", (480, 640)), ("e", (640, 480))):
        photo(f"set/{name}.png", np.full((*size, 3), 240, np.uint8))
    right = Area(region=(((500, 0), (640, 0), (640, 480), (500, 480)),))

    def looking() -> Scanner:
        return Scanner(tiny_model, threads=1, area=right)

    for most, names, skipped in ((1, "b", "a"), (2, "bd", "ac"), (3, "bd", "ace")):
        run_sources([str(tmp_path / "set")], looking, output=tmp_path / f"{most}", max_frames=most)
        _, *frames, summary = records_of(tmp_path / f"{most}")
        assert "".join(Path(frame["file"]).stem for frame in frames) == names
        assert "".join(Path(skip["file"]).stem for skip in summary["skipped"]) == skipped
        assert summary["reason"] == ("max-frames" if most < 3 else "end")
    for name in "bd":
        (tmp_path / "set" / f"{name}.png").unlink()
    for reading in (SourceOptions(), SourceOptions(loop=True)):
        with pytest.raises(OptionError, match="nothing of a frame of 480x640"):
            run_sources([str(tmp_path / "set")], looking, output=tmp_path / "none", reading=reading)
    assert not (tmp_path / "none").exists()


def test_what_is_not_read_of_photographs_is_said(photo: Any, scanner: Any, tmp_path: Path) -> None:
    photo("set/a.png")
    photo("set/day2/b.png")
    pages = [PIL.Image.new("L", (64, 64), 200) for _ in range(3)]
    pages[0].save(tmp_path / "set" / "pages.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "set" / "IMG_1.HEIC").write_bytes(b"")
    warnings: list[str] = []
    outcome = run_sources([str(tmp_path / "set")], scanner, output=tmp_path / "out", on_warning=warnings.append)
    assert outcome.exit_code() == 0
    assert len(warnings) == 2
    assert warnings[0].startswith(f"{tmp_path / 'set'}: not read: 1 file of other kinds (.heic) and 1 subfolder")
    assert warnings[1].startswith(f"{tmp_path / 'set' / 'pages.tif'}: has 3 pages, the first is scanned; ")


def test_several_sources(clip: Path, photo: Any, scanner: Any, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    clip.rename(folder / "one.mp4")
    (folder / "broken.mp4").write_bytes(b"no")
    photo("shots/one.png")
    warnings: list[str] = []
    outcome = run_sources(
        [str(folder), str(tmp_path / "shots" / "one.png")],
        scanner,
        output=tmp_path / "out",
        max_frames=3,
        on_warning=warnings.append,
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one", "one-2"]
    assert [record["type"] for record in records_of(tmp_path / "out" / "one")] == ["header", *["frame"] * 3, "summary"]
    assert records_of(tmp_path / "out" / "one")[0]["part"] == "one"
    assert records_of(tmp_path / "out" / "one")[-1]["reason"] == "max-frames"
    assert [summary.part for summary in outcome.summaries] == ["one", "one-2"]
    assert len(warnings) == len(outcome.errors) == 1
    assert warnings[0].startswith(f"{folder / 'broken.mp4'}: cannot be opened")
    assert outcome.exit_code(fail_on_crack=True) == 1


def test_the_default_folder(photo: Any, scanner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = photo("wall 7.png")
    monkeypatch.chdir(tmp_path)
    outcome = run_sources([str(path)], scanner, outputs=OutputOptions(video=False))
    assert outcome.folder.parts[0] == "runs"
    assert outcome.folder.name.startswith("wall_7-2")
    assert [entry.name for entry in outcome.folder.iterdir()] == ["results.jsonl"]


def test_a_cut_off_file_has_a_gap(clip: Path, scanner: Any, tmp_path: Path, write_video: Any) -> None:
    path = write_video("cut.mp4", frames=40, movflags="faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    warnings: list[str] = []
    outcome = run_sources([str(path)], scanner, output=tmp_path / "out", on_warning=warnings.append)
    *_, last, gap, summary = records_of(tmp_path / "out")
    assert gap["type"] == "gap"
    assert gap["before_index"] == last["index"] + 1 == summary["frames"]
    assert summary["gaps"] == 1
    assert len(warnings) == 1
    assert outcome.exit_code() == 0


def test_a_cut_off_file_has_a_gap_in_real_time_too(scanner: Any, tmp_path: Path, write_video: Any) -> None:
    path = write_video("cut.mp4", frames=40, movflags="faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    run_sources([str(path)], scanner, output=tmp_path / "out", reading=SourceOptions(realtime=True))
    *_, last, gap, summary = records_of(tmp_path / "out")
    assert gap["type"] == "gap"
    assert gap["before_index"] == last["index"] + 1 == summary["frames"]
    assert summary["gaps"] == 1


def test_a_new_run_replaces_the_old_one_only_when_it_succeeds(
    clip: Path, photo: Any, scanner: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run_sources([str(clip)], scanner, output=out)
    first = (out / "results.jsonl").read_bytes()

    with pytest.raises(SourceError):
        run_sources([str(tmp_path / "none.mp4")], scanner, output=out)
    (tmp_path / "broken.mp4").write_bytes(b"no")
    with pytest.raises(SourceError):
        run_sources([str(tmp_path / "broken.mp4")], scanner, output=out)
    with pytest.raises(ModelError):
        run_sources([str(clip)], lambda: Scanner(tmp_path / "broken.mp4"), output=out)

    stop = StopFlag()
    interrupted = run_sources([str(clip)], scanner, output=out, stop=stop, on_progress=lambda _: stop.ask(2))
    assert interrupted.folder == out / "unfinished"
    assert records_of(interrupted.folder)[-1]["reason"] == "interrupted"
    assert (out / "results.jsonl").read_bytes() == first
    assert sorted(path.name for path in out.iterdir()) == ["marked.mp4", "results.jsonl", "unfinished"]

    done = run_sources([str(photo("p.png"))], scanner, output=out)
    assert done.folder == out
    assert sorted(path.name for path in out.iterdir()) == ["marked", "results.jsonl", "unfinished"]
    assert len(records_of(out)) == 3


def test_a_foreign_folder_is_refused_before_anything_is_opened(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("words")

    def never_called() -> Scanner:
        raise AssertionError

    with pytest.raises(OutputError, match="not results of crackedge"):
        run_sources([str(clip)], never_called, output=tmp_path / "mine")


@pytest.mark.parametrize(("texts", "options"), [([], {}), (["x"], {"max_frames": 0})])
def test_wrong_use(texts: list[str], options: Any, scanner: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError):
        run_sources(texts, scanner, output=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_live_source_that_stalls(mjpeg_server: Any, scanner: Any, tmp_path: Path) -> None:
    server = mjpeg_server(frames=6, then="stall")
    warnings: list[str] = []
    progress: list[Progress] = []
    outcome = run_sources(
        [server.url],
        scanner,
        output=tmp_path / "out",
        reading=SourceOptions(read_s=0.4, give_up_s=0),
        on_warning=warnings.append,
        on_progress=progress.append,
    )
    header, *frames, gap, summary = records_of(tmp_path / "out")
    assert header["source"]["live"] is True
    assert "pw" not in header["source"]["uri"]
    assert len(frames) + sum(frame["dropped_before"] for frame in frames) == 6
    assert gap["reason"] == "no frame for 0.4 s"
    assert gap["started_at"] == frames[-1]["captured_at"]
    assert (summary["reason"], summary["dropped"]) == ("lost", sum(frame["dropped_before"] for frame in frames))
    assert summary["error"] == warnings[0]
    assert len(warnings) == 1
    assert times_of(tmp_path / "out" / "marked.mp4") == pytest.approx([f["time_s"] for f in frames], abs=1e-4)
    assert outcome.exit_code() == 3
    assert progress[-1].age_s is not None
    assert "age" in str(progress[-1])


def test_a_live_source_with_a_limit_goes_on_where_the_last_run_wrote(
    mjpeg_server: Any, scanner: Any, tmp_path: Path
) -> None:
    """Or a service would keep as much again after each power cut."""
    server = mjpeg_server(frames=6, then="stall")
    for _ in range(2):
        run_sources(
            [server.url],
            scanner,
            output=tmp_path / "out",
            reading=SourceOptions(read_s=0.4, give_up_s=0),
            outputs=OutputOptions(rotation=RotationOptions(keep_mb=1)),
        )
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["marked-000001.mp4", "marked.mp4", "results-000001.jsonl", "results.jsonl"]


def test_a_live_source_that_is_not_there(scanner: Any, tmp_path: Path) -> None:
    with pytest.raises(LiveSourceError):
        run_sources(["/dev/video250"], scanner, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Failing:
    """A sink that fails at a frame."""

    name = "failing"

    def __init__(self, at: int) -> None:
        self.at, self.seen, self.closed = at, 0, False

    def write(self, frame: Frame, result: Any) -> None:
        if self.seen == self.at:
            raise OutputError("stick: cannot be written (gone)")
        self.seen += 1

    def note(self, record: Any) -> None:
        if self.at < 0:
            raise OutputError("stick: cannot be written (gone)")

    def finish(self) -> None: ...

    def __enter__(self) -> Failing:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True


def test_an_output_that_is_lost_does_not_end_the_run(clip: Path, scanner: Any) -> None:
    bad, good = Failing(4), Failing(999)
    warnings: list[str] = []
    with scanner() as scan, open_source(clip) as source:
        summary = run(source, scan, [bad, good], on_warning=warnings.append)
    assert (summary.frames, good.seen, bad.seen) == (15, 15, 4)
    assert summary.lost_outputs == (LostOutput("failing", "stick: cannot be written (gone)"),)
    assert warnings == ["stick: cannot be written (gone); still written: failing"]
    assert bad.closed
    assert good.closed
    assert not summary.complete


def test_a_run_whose_last_output_is_lost_ends(clip: Path, scanner: Any) -> None:
    warnings: list[str] = []
    with scanner() as scan, open_source(clip) as source:
        summary = run(source, scan, [Failing(4), Failing(6)], on_warning=warnings.append)
    assert (summary.frames, summary.reason) == (7, "interrupted")
    assert warnings[-1] == "stick: cannot be written (gone); still written: nothing, so the run ends"
    assert Outcome(Path(), (summary,), (), None).exit_code() == 4


def test_what_comes_behind_a_source_without_end_is_said(scanner: Any, tmp_path: Path) -> None:
    said: list[str] = []
    run_sources(["/dev/video250", "/dev/video251"], scanner, output=tmp_path / "out", on_warning=said.append)
    assert said[0].startswith("/dev/video251: waits until /dev/video250 ends; for several cameras at once")


@pytest.mark.parametrize("budget", ["max_latency_ms", "target_fps"])
def test_photographs_have_a_budget_only_with_times(tmp_path: Path, tiny_model: Path, budget: str) -> None:
    PIL.Image.new("RGB", (320, 240)).save(tmp_path / "wall.png")
    options: dict[str, Any] = {budget: 20.0, "threads": 1}
    with pytest.raises(OptionError, match=f"{budget} does not apply; photographs are scanned whole"):
        run_sources([str(tmp_path)], lambda: Scanner(tiny_model, **options), output=tmp_path / "out")
    with_times = SourceOptions(fps=2)
    run_sources([str(tmp_path)], lambda: Scanner(tiny_model, **options), output=tmp_path / "out", reading=with_times)


def test_an_output_that_fails_before_the_first_frame_ends_it(clip: Path, scanner: Any) -> None:
    bad = Failing(-1)
    with scanner() as scan, open_source(clip) as source, pytest.raises(OutputError):
        run(source, scan, [bad])
    assert bad.closed


def summary_with(**changes: Any) -> Summary:
    values: dict[str, Any] = {
        "source": "x", "part": None, "live": False, "reason": "end", "frames": 1, "cracked_frames": 0, "regions": 0,
        "seconds": 1.0, "fps": 1.0, "dropped": 0, "gaps": 0, "skipped": (), "lost_outputs": (), "error": None,
        **changes,
    }  # fmt: skip
    return Summary(**values)


def test_exit_codes_in_order() -> None:
    lost, cracked = summary_with(lost_outputs=(LostOutput("a", "b"),)), summary_with(cracked_frames=1)
    gone = summary_with(error=LiveSourceError("gone"))
    cases: list[tuple[list[Summary], list[Any], int | None, int]] = [
        ([summary_with()], [], None, 0),
        ([cracked], [], None, 10),
        ([cracked, lost], [], None, 4),
        ([cracked, lost], [SourceError("x")], None, 1),
        ([cracked, lost, gone], [SourceError("x")], None, 3),
        ([cracked, lost, gone], [SourceError("x")], 15, 143),
        ([], [LiveSourceError("x")], None, 3),
    ]
    for summaries, errors, number, code in cases:
        outcome = Outcome(Path(), tuple(summaries), tuple(errors), number)
        assert outcome.exit_code(fail_on_crack=True) == code
        if code != 10:
            assert outcome.exit_code() == code


PROGRAM = """
    import signal, sys
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests run under nohup
    from pathlib import Path
    from crackedge.edge_runtime import Scanner
    from crackedge.edge_runtime.runs import run_sources
    from crackedge.edge_runtime.sources.source import SourceOptions
    from crackedge.edge_runtime.stop import stop_on_signals
    source, model, out = sys.argv[1:]
    with stop_on_signals() as stop:
        outcome = run_sources(
            [source], lambda: Scanner(model, threads=1), output=Path(out), stop=stop,
            reading=SourceOptions(open_s=60, read_s=60),
            on_progress=lambda progress: print(progress, flush=True), on_start=lambda _: print("open", flush=True),
        )
    sys.exit(outcome.exit_code())
"""


def start(source: str, model: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), source, str(model), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


LONG_SCENE = "scene:?frames=100000&size=320x240&cracks=1&distractors=0"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_signals_in_the_middle_of_a_run(number: signal.Signals, tiny_model: Path, tmp_path: Path) -> None:
    process = start(LONG_SCENE, tiny_model, tmp_path / "out")
    assert process.stdout is not None
    while int(re.findall(r"frame (\d+)", process.stdout.readline())[0]) < 40:
        continue
    process.send_signal(number)
    sent_s = time.monotonic()
    _, errors = process.communicate(timeout=10)
    assert "Traceback" not in errors
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        _, *frames = records_of(tmp_path / "out")
    else:
        assert time.monotonic() - sent_s < 2
        assert process.returncode == 128 + number
        _, *frames, summary = records_of(tmp_path / "out")
        assert (summary["reason"], summary["frames"]) == ("interrupted", len(frames))
    seen = times_of(tmp_path / "out" / "marked.mp4")
    assert seen == pytest.approx([frame["time_s"] for frame in frames[: len(seen)]], abs=1e-4)
    assert len(seen) == len(frames) if number != signal.SIGKILL else len(frames) - len(seen) <= 0.5 * 25 + 8


def test_a_signal_while_a_source_says_nothing(tiny_model: Path, tmp_path: Path, mjpeg_server: Any) -> None:
    server = mjpeg_server(frames=3, then="stall")
    process = start(server.url, tiny_model, tmp_path / "out")
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    sent_s = time.monotonic()
    _, errors = process.communicate(timeout=10)
    assert time.monotonic() - sent_s < 2
    assert "Traceback" not in errors
    assert process.returncode == 128 + signal.SIGTERM
    assert records_of(tmp_path / "out")[-1]["reason"] == "interrupted"


def test_runs_leave_no_threads_and_no_open_files(clip: Path, scanner: Any, tmp_path: Path) -> None:
    def open_files() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    run_sources([str(clip)], scanner, output=tmp_path / "out")
    before = threading.active_count(), open_files()
    for _ in range(3):
        run_sources([str(clip)], scanner, output=tmp_path / "out")
        run_sources([str(clip)], scanner, output=tmp_path / "out", max_frames=2)
    assert (threading.active_count(), open_files()) == before


def test_names_that_differ_in_case_alone_have_folders_of_different_names(
    photo: Any, scanner: Any, tmp_path: Path
) -> None:
    sources = [str(photo(name)) for name in ("lower/wall.png", "upper/Wall.png")]
    outcome = run_sources(sources, scanner, output=tmp_path / "out")
    assert [summary.part for summary in outcome.summaries] == ["wall", "Wall-2"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["Wall-2", "wall"]


def test_several_sources_replace_earlier_results_only_if_none_fails(
    write_video: Any, scanner: Any, tmp_path: Path
) -> None:
    sources, out = [write_video(f"{name}.mp4", frames=3) for name in "ab"], tmp_path / "out"
    texts = [str(source) for source in sources]
    run_sources(texts, scanner, output=out)
    sources[1].write_bytes(b"no")
    outcome = run_sources(texts, scanner, output=out)
    assert (outcome.folder, outcome.exit_code()) == (out / "unfinished", 1)
    for part in ("a", "b", "unfinished/a"):
        assert len(records_of(out / part)) == 5
    assert not (out / "unfinished" / "b").exists()


def test_a_marked_video_has_the_shape_of_its_source(write_video: Any, scanner: Any, tmp_path: Path) -> None:
    run_sources([str(write_video(frames=3, pixel_aspect=Fraction(16, 15)))], scanner, output=tmp_path / "out")
    with av.open(str(tmp_path / "out" / "marked.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 15)
