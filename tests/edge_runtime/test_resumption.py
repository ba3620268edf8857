"""Interrupted runs that are gone on with: what they leave in the end is what one undisturbed run leaves."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from crackedge.edge_runtime import OptionError, Scanner, SourceError
from crackedge.edge_runtime.resumption import done_before
from crackedge.edge_runtime.runs import OutputOptions, run_sources
from crackedge.edge_runtime.scan.area import Area
from crackedge.edge_runtime.sources.source import SourceOptions
from crackedge.edge_runtime.stop import StopFlag

pytestmark = pytest.mark.slow

FRAMES = 60
SCENE = f"scene:?frames={FRAMES}&size=320x240&cracks=2&distractors=0"
PROGRAM = """
    import sys, time
    from pathlib import Path
    from crackedge.edge_runtime import Scanner
    from crackedge.edge_runtime.runs import run_sources
    from crackedge.edge_runtime.stop import stop_on_signals
    source, model, out = sys.argv[1:]
    class Slow(Scanner):
        def __call__(self, image, **options):
            time.sleep(0.02)
            return super().__call__(image, **options)
    with stop_on_signals() as stop:
        outcome = run_sources([source], lambda: Slow(model, threads=1), output=Path(out), stop=stop, resume=True,
                              on_start=lambda start: print(start.next_index, flush=True))
    sys.exit(outcome.exit_code())
"""


@pytest.fixture
def scanner(tiny_model: Path) -> Callable[[], Scanner]:
    return lambda: Scanner(tiny_model, threads=1)


def lines(folder: Path) -> list[dict[str, Any]]:
    """The records, without what may differ between two runs."""
    records = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in record.items() if key not in ("timing_ms", "seconds", "fps", "ended_at")}
        for record in records[1:]
    ]


def pictures(video: Path) -> tuple[list[float], list[Any]]:
    """Times and small grey versions of a video's pictures."""
    with av.open(str(video)) as container:
        decoded = list(container.decode(video=0))
    return [float(one.time or 0) for one in decoded], [one.to_ndarray(format="gray")[::8, ::8] for one in decoded]


def assert_same(found: Path, undisturbed: Path) -> None:
    assert lines(found) == lines(undisturbed)
    (times, seen), (times_expected, expected) = pictures(found / "marked.mp4"), pictures(undisturbed / "marked.mp4")
    assert times == times_expected
    for one, other in zip(seen, expected, strict=True):
        assert np.abs(one.astype(int) - other).mean() < 4, "the same picture, encoded anew"
    assert sorted(path.name for path in found.iterdir()) == ["marked.mp4", "results.jsonl"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_again_and_again(number: signal.Signals, tiny_model: Path, tmp_path: Path) -> None:
    run_sources([SCENE], lambda: Scanner(tiny_model, threads=1), output=tmp_path / "undisturbed")
    out, firsts = tmp_path / "out", []
    moments = random.Random(number)
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), SCENE, str(tiny_model), str(out)]
    for _ in range(8):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            firsts += [int(line) for line in [process.stdout.readline()] if line]  # nothing is started when all is done
            try:
                process.wait(moments.uniform(0.2, 0.6))
            except subprocess.TimeoutExpired:
                process.send_signal(number)
            _, errors = process.communicate(timeout=30)
        assert "Traceback" not in errors
        if process.returncode == 0:
            break
        assert process.returncode in (-number, 128 + number)  # the first also once everything is closed
    else:
        run_sources([SCENE], lambda: Scanner(tiny_model, threads=1), output=out, resume=True)
    assert firsts == sorted(firsts)
    assert firsts[-1] > 0
    header = json.loads((out / "results.jsonl").read_text().splitlines()[0])
    assert len(header["resumed_at"]) >= 1
    assert_same(out, tmp_path / "undisturbed")


def interrupted(source: str, scanner: Any, out: Path, *, after: int = 5, **options: Any) -> Path:
    """A run that somebody stops after some frames."""
    stop, seen = StopFlag(), []

    def progress(_: Any) -> None:
        seen.append(1)

    class Stopping(Scanner):
        calls = 0

        def __call__(self, image: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == after:
                stop.ask()
            return super().__call__(image, **options)

    made = scanner()
    return run_sources(
        [source],
        lambda: Stopping(made.model, threads=1),
        output=out,
        stop=stop,
        on_progress=progress,
        **options,
    ).folder


def test_images(photo: Any, scanner: Any, tmp_path: Path) -> None:
    for number in range(8):
        photo(f"set/{number}/wall.png", np.full((64, 90, 3), 40 * (number % 2), np.uint8))
    source = str(tmp_path / "set" / "*" / "*.png")
    run_sources([source], scanner, output=tmp_path / "undisturbed")
    interrupted(source, scanner, tmp_path / "out")
    assert len(lines(tmp_path / "out")) < 8
    run_sources([source], scanner, output=tmp_path / "out", resume=True)
    assert lines(tmp_path / "out") == lines(tmp_path / "undisturbed")
    names = [sorted(file.name for file in (tmp_path / name / "marked").iterdir()) for name in ("out", "undisturbed")]
    assert names[0] == names[1]


def stopped(source: str, scanner: Any, out: Path, *, after: int, **options: Any) -> Path:
    """A run without a summary, as a kill leaves it."""
    run_sources([source], scanner, output=out, max_frames=after, **options)
    results = out / "results.jsonl"
    results.write_bytes(b"".join(results.read_bytes().splitlines(keepends=True)[:-1]))
    return results


def files_of(folder: Path) -> list[str]:
    return [Path(record["file"]).name for record in lines(folder) if record["type"] == "frame"]


@pytest.mark.parametrize("killed", [True, False])
@pytest.mark.parametrize("change", ["before", "gone", "renamed"])
def test_photographs_that_are_no_longer_at_their_places(
    change: str, killed: bool, photo: Any, scanner: Any, tmp_path: Path
) -> None:
    for number in range(1, 7):
        photo(f"set/p{number}.png")
    source, out = str(tmp_path / "set"), tmp_path / "out"
    stopped(source, scanner, out, after=3)
    if not killed:
        run_sources([source], scanner, output=out, resume=True)
    before = (out / "results.jsonl").read_bytes()
    first = tmp_path / "set" / "p1.png"
    if change == "before":
        photo("set/a0.png")
    elif change == "gone":
        first.unlink()
    else:
        first.rename(tmp_path / "set" / "p01.png")
    now = {"before": "a0", "gone": "p2", "renamed": "p01"}[change]
    with pytest.raises(OptionError, match=rf"other files \(index 0 .*p1\.png, now .*{now}\.png\)"):
        run_sources([source], scanner, output=out, resume=True)
    assert (out / "results.jsonl").read_bytes() == before


@pytest.mark.parametrize("reading", [SourceOptions(), SourceOptions(fps=2, every=2)])
@pytest.mark.parametrize("killed", [True, False])
def test_photographs_that_came_behind_those_that_were_scanned(
    killed: bool, reading: SourceOptions, photo: Any, scanner: Any, tmp_path: Path
) -> None:
    names = [photo(f"set/p{number}.png").name for number in range(1, 6)]
    source, out = str(tmp_path / "set"), tmp_path / "out"
    if killed:
        stopped(source, scanner, out, after=2, reading=reading)
    else:
        run_sources([source], scanner, output=out, reading=reading)
    names += [photo(f"set/p{number}.png").name for number in range(6, 8)]
    run_sources([source], scanner, output=out, resume=True, reading=reading)
    assert files_of(out) == names[:: reading.every]
    said: list[str] = []
    run_sources([source], scanner, output=out, resume=True, reading=reading, on_warning=said.append)
    assert said == [f"{out}: complete already, nothing was scanned"]
    run_sources([source], scanner, output=tmp_path / "undisturbed", reading=reading)
    assert lines(out) == lines(tmp_path / "undisturbed")
    headers = [
        json.loads((one / "results.jsonl").read_text().splitlines()[0]) for one in (out, tmp_path / "undisturbed")
    ]
    assert headers[0]["source"] == headers[1]["source"]


def test_photographs_that_nothing_is_to_be_looked_at_in(photo: Any, tiny_model: Path, tmp_path: Path) -> None:
    """They are no frames, and stand in the summary although the interrupted run passed them over."""
    sizes = {"a": (640, 480), "b": (480, 640), "c": (640, 480), "d": (480, 640), "e": (480, 640)}
    for name, size in sizes.items():
        photo(f"set/{name}.png", np.full((*size, 3), 240, np.uint8))
    right = Area(region=(((500, 0), (640, 0), (640, 480), (500, 480)),))

    def looking() -> Scanner:
        return Scanner(tiny_model, threads=1, area=right)

    source, out = str(tmp_path / "set"), tmp_path / "out"
    run_sources([source], looking, output=tmp_path / "undisturbed")
    (summary,) = run_sources([source], looking, output=out, max_frames=2).summaries
    assert (summary.reason, summary.frames) == ("max-frames", 2)
    assert files_of(out) == ["b.png", "d.png"]
    run_sources([source], looking, output=out, resume=True)
    assert lines(out) == lines(tmp_path / "undisturbed")
    assert files_of(out) == ["b.png", "d.png", "e.png"]
    assert [Path(one["file"]).name for one in lines(out)[-1]["skipped"]] == ["a.png", "c.png"]


def test_photographs_that_begin_again_and_again(photo: Any, scanner: Any, tmp_path: Path) -> None:
    for number in range(3):
        photo(f"set/{number}.png")
    (tmp_path / "set" / "0.png").write_bytes(b"no")
    source, reading = str(tmp_path / "set"), SourceOptions(loop=True)
    run_sources([source], scanner, output=tmp_path / "undisturbed", max_frames=9, reading=reading)
    stopped(source, scanner, tmp_path / "out", after=6, reading=reading)
    run_sources([source], scanner, output=tmp_path / "out", max_frames=9, reading=reading, resume=True)
    assert lines(tmp_path / "out") == lines(tmp_path / "undisturbed")


def test_photographs_whose_names_are_no_utf_8(photo: Any, scanner: Any, tmp_path: Path) -> None:
    """In results of today and in those of earlier versions, which held halves of characters."""
    try:
        for name in ("bad\udcff.PNG", "bad\udcfe.png", "c.png", "d.png"):
            photo("set\udcfc/x.png").rename(tmp_path / "set\udcfc" / name)
    except OSError:
        pytest.skip("files cannot have such names here")
    source = str(tmp_path / "set\udcfc")
    run_sources([source], scanner, output=tmp_path / "undisturbed")
    assert files_of(tmp_path / "undisturbed") == [r"bad\udcfe.png", r"bad\udcff.PNG", "c.png", "d.png"]
    for halves in (False, True):
        out = tmp_path / f"out-{halves}"
        results = stopped(source, scanner, out, after=3)
        if halves:
            results.write_bytes(results.read_bytes().replace(rb"\\u", rb"\u"))
        run_sources([source], scanner, output=out, resume=True)
        assert lines(out) == lines(tmp_path / "undisturbed")
        said: list[str] = []
        run_sources([source], scanner, output=out, resume=True, on_warning=said.append)
        assert said == [f"{out}: complete already, nothing was scanned"]
        marked = [sorted(file.name for file in (one / "marked").iterdir()) for one in (out, tmp_path / "undisturbed")]
        assert marked[0] == marked[1]


def test_the_last_line_was_cut_off(scanner: Any, tmp_path: Path) -> None:
    run_sources([SCENE], scanner, output=tmp_path / "undisturbed", max_frames=20)
    out = interrupted(SCENE, scanner, tmp_path / "out", after=12, max_frames=20)
    results = out / "results.jsonl"
    records = results.read_bytes().splitlines(keepends=True)
    results.write_bytes(b"".join(records[:8]) + records[8][:40])
    run_sources([SCENE], scanner, output=out, resume=True, max_frames=20)
    assert_same(out, tmp_path / "undisturbed")


def test_what_is_done_is_not_done_again(scanner: Any, tmp_path: Path, write_video: Any) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(name, frames=8)
    sources = [str(tmp_path / name) for name in ("a.mp4", "b.mp4")]
    run_sources(sources, scanner, output=tmp_path / "out")
    before = (tmp_path / "out" / "a" / "results.jsonl").read_bytes()
    shutil.rmtree(tmp_path / "out" / "b")
    started: list[str] = []
    outcome = run_sources(
        sources, scanner, output=tmp_path / "out", resume=True, on_start=lambda start: started.append(start.source.name)
    )
    assert started == ["b"]
    with pytest.raises(OptionError, match=r"another source \(uri "):
        run_sources([SCENE], scanner, output=tmp_path / "out" / "a", resume=True)
    with pytest.raises(OptionError, match=r"another plan \(window_threshold "):
        run_sources(
            sources, lambda: Scanner(scanner().model, threads=1, threshold=0.9), output=tmp_path / "out", resume=True
        )
    assert [summary.frames for summary in outcome.summaries] == [8, 8]
    assert (tmp_path / "out" / "a" / "results.jsonl").read_bytes() == before
    assert outcome.exit_code() == 0


def test_more_frames_than_before(scanner: Any, tmp_path: Path) -> None:
    run_sources([SCENE], scanner, output=tmp_path / "undisturbed", max_frames=12)
    for wanted, expected in ((8, 8), (6, 8), (12, 12)):
        outcome = run_sources([SCENE], scanner, output=tmp_path / "out", max_frames=wanted, resume=True)
        assert [summary.frames for summary in outcome.summaries] == [expected]
    assert_same(tmp_path / "out", tmp_path / "undisturbed")


def test_fewer_frames_than_before_is_not_the_end(scanner: Any, tmp_path: Path) -> None:
    out = interrupted(SCENE, scanner, tmp_path / "out", after=10)
    (summary,) = run_sources([SCENE], scanner, output=out, max_frames=6, resume=True).summaries
    assert (summary.reason, summary.frames >= 10) == ("max-frames", True)
    run_sources([SCENE], scanner, output=out, resume=True)
    run_sources([SCENE], scanner, output=tmp_path / "undisturbed")
    assert_same(out, tmp_path / "undisturbed")


def test_nothing_of_the_records_is_left_and_all_of_the_video(scanner: Any, tmp_path: Path) -> None:
    run_sources([SCENE], scanner, output=tmp_path / "undisturbed", max_frames=20)
    out = interrupted(SCENE, scanner, tmp_path / "out", after=10)
    results = out / "results.jsonl"
    results.write_bytes(results.read_bytes().splitlines(keepends=True)[0])
    run_sources([SCENE], scanner, output=out, resume=True, max_frames=20)
    assert_same(out, tmp_path / "undisturbed")


def test_an_unfinished_run_beside_earlier_results(scanner: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_sources([SCENE], scanner, output=out, max_frames=3)
    assert interrupted(SCENE, scanner, out, max_frames=20) == out / "unfinished"
    run_sources([SCENE], scanner, output=out, resume=True, max_frames=20)
    run_sources([SCENE], scanner, output=tmp_path / "undisturbed", max_frames=20)
    assert_same(out, tmp_path / "undisturbed")


def test_nothing_was_done_yet(scanner: Any, tmp_path: Path) -> None:
    outcome = run_sources([SCENE], scanner, output=tmp_path / "out", resume=True, max_frames=4)
    assert [summary.frames for summary in outcome.summaries] == [4]


def test_another_run_is_refused(scanner: Any, tmp_path: Path, tiny_model: Path) -> None:
    out = interrupted(SCENE, scanner, tmp_path / "out")
    before = (out / "results.jsonl").read_bytes()
    cases: list[tuple[str, Any, dict[str, Any]]] = [
        (r"another source \(uri ", scanner, {"texts": [SCENE.replace("cracks=2", "cracks=1")]}),
        (r"another plan \(window_threshold ", lambda: Scanner(tiny_model, threads=1, threshold=0.9), {}),
        (r"without --no-video", scanner, {"outputs": OutputOptions(video=False)}),
    ]
    for message, opened, options in cases:
        with pytest.raises(OptionError, match=message):
            run_sources(options.pop("texts", [SCENE]), opened, output=out, resume=True, **options)
    assert (out / "results.jsonl").read_bytes() == before
    assert (out / "marked.mp4").exists()


def test_an_area_is_the_same_as_its_record(scanner: Any, tiny_model: Path, tmp_path: Path) -> None:
    area = Area(region=(((0, 0), (160, 0), (160, 240)),))

    def looking() -> Scanner:
        return Scanner(tiny_model, threads=1, area=area, scale=(1.0, 1.5))

    run_sources([SCENE], looking, output=tmp_path / "undisturbed", max_frames=6)
    run_sources([SCENE], looking, output=tmp_path / "out", max_frames=3)
    results = tmp_path / "out" / "results.jsonl"
    results.write_text("".join(results.read_text().splitlines(keepends=True)[:-1]))
    outcome = run_sources([SCENE], looking, output=tmp_path / "out", resume=True, max_frames=6)
    assert_same(outcome.folder, tmp_path / "undisturbed")


def test_wrong_use(scanner: Any, tmp_path: Path, mjpeg_server: Any) -> None:
    with pytest.raises(OptionError, match="give -o"):
        run_sources([SCENE], scanner, resume=True)
    promises: list[dict[str, Any]] = [{"reuse": True}, {"max_latency_ms": 50.0}, {"target_fps": 5.0}]
    for promise in promises:
        with pytest.raises(OptionError, match="reuse and budgets"):
            run_sources([SCENE], partial(Scanner, "nano", **promise), output=tmp_path / "o", resume=True)
    with pytest.raises(OptionError, match="live source cannot be resumed"):
        run_sources([mjpeg_server(frames=3, then="stall").url], scanner, output=tmp_path / "out", resume=True)


def test_a_video_that_cannot_be_read_is_made_again(scanner: Any, tmp_path: Path) -> None:
    run_sources([SCENE], scanner, output=tmp_path / "undisturbed", max_frames=20)
    out = interrupted(SCENE, scanner, tmp_path / "out", after=10)
    (out / "marked.mp4").write_bytes(b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x10mdat" + bytes(8))
    run_sources([SCENE], scanner, output=out, resume=True, max_frames=20)
    assert_same(out, tmp_path / "undisturbed")


def test_the_source_is_gone(scanner: Any, tmp_path: Path, write_video: Any) -> None:
    clip = write_video(frames=12)
    out = interrupted(str(clip), scanner, tmp_path / "out")
    before = (out / "results.jsonl").read_bytes()
    clip.unlink()
    with pytest.raises(SourceError):
        run_sources([str(clip)], scanner, output=out, resume=True)
    assert (out / "results.jsonl").read_bytes() == before


def test_the_threshold_that_somebody_set_last_is_kept(tiny_model: Path, tmp_path: Path) -> None:
    class Set(Scanner):
        calls = 0

        def __call__(self, image: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls in (3, 5):
                self.set_threshold({3: 0.99999, 5: 0.9}[self.calls])
            return super().__call__(image, **options)

    run_sources([SCENE], lambda: Set(tiny_model, threads=1), output=tmp_path / "undisturbed", max_frames=12)
    out, resumed = tmp_path / "out", Scanner(tiny_model, threads=1)
    run_sources([SCENE], lambda: Set(tiny_model, threads=1), output=out, max_frames=8)
    results = out / "results.jsonl"
    results.write_text("".join(results.read_text().splitlines(keepends=True)[:-1]))
    outcome = run_sources([SCENE], lambda: resumed, output=out, resume=True, max_frames=12)
    assert [one["before_index"] for one in lines(out) if one["type"] == "setting"] == [2, 4]
    assert resumed.threshold == 0.9
    assert_same(outcome.folder, tmp_path / "undisturbed")
    assert outcome.summaries[0].fps < 8 / outcome.summaries[0].seconds, "by what was scanned now"


def test_what_lost_an_output_is_not_done(tmp_path: Path) -> None:
    header = {"type": "header", "source": {"kind": "video", "frames": 3}}
    for lost, done in (([], True), ([{"name": "marked.mp4", "reason": "full"}], False)):
        summary = {"type": "summary", "reason": "end", "frames": 3, "lost_outputs": lost}
        (tmp_path / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (header, summary)))
        assert done_before(tmp_path, None) == (summary if done else None)


def test_the_last_marked_image_was_cut_off(photo: Any, scanner: Any, tmp_path: Path) -> None:
    for number in range(6):
        photo(f"set/{number}.png")
    source, out = str(tmp_path / "set"), tmp_path / "out"
    run_sources([source], scanner, output=tmp_path / "undisturbed")
    stopped(source, scanner, out, after=4)
    last = out / "marked" / "3.jpg"
    last.write_bytes(last.read_bytes()[:500])
    run_sources([source], scanner, output=out, resume=True)
    for file in (tmp_path / "undisturbed" / "marked").iterdir():
        assert (out / "marked" / file.name).read_bytes() == file.read_bytes()


def test_gaps_are_kept_and_counted(scanner: Any, tmp_path: Path, write_video: Any, spoil: Any) -> None:
    clip = write_video(frames=40, movflags="faststart")
    spoil(clip, 10)
    records_alone = OutputOptions(video=False)
    run_sources([str(clip)], scanner, output=tmp_path / "undisturbed", outputs=records_alone)
    assert [one["gaps"] for one in lines(tmp_path / "undisturbed") if one["type"] == "summary"] == [1]
    stopped(str(clip), scanner, tmp_path / "out", after=25, outputs=records_alone)
    run_sources([str(clip)], scanner, output=tmp_path / "out", outputs=records_alone, resume=True)
    assert lines(tmp_path / "out") == lines(tmp_path / "undisturbed")


def test_a_run_may_go_on_with_other_threads(tiny_model: Path, scanner: Any, tmp_path: Path) -> None:
    options: Any = {"max_frames": 9, "outputs": OutputOptions(video=False)}
    run_sources([SCENE], scanner, output=tmp_path / "undisturbed", **options)
    stopped(SCENE, scanner, tmp_path / "out", after=5, outputs=options["outputs"])
    run_sources([SCENE], lambda: Scanner(tiny_model, threads=2), output=tmp_path / "out", resume=True, **options)
    assert lines(tmp_path / "out") == lines(tmp_path / "undisturbed")
