"""What a run may replace, what it must not touch, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from crackedge.edge_runtime import OutputError
from crackedge.edge_runtime.result_folder import ResultFolder, default_folder, has_frames, is_result_folder

NOON = datetime(2026, 3, 1, 12, 0, 5)


END: dict[str, Any] = {"type": "summary", "reason": "end", "lost_outputs": []}


def write_results(
    folder: Path,
    word: str,
    *,
    frames: int = 1,
    part: str | None = None,
    video: bool = True,
    live: bool = False,
    end: dict[str, Any] | None = END,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    header = {"type": "header", "schema": 1, "word": word, "source": {"live": live}, **({"part": part} if part else {})}
    lines = [header, *({"type": "frame", "index": number} for number in range(frames)), *([end] if end else [])]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if video and frames:
        (folder / "marked.mp4").write_text(word)


def crash(folder: Path, *, frames: int) -> None:
    def run() -> None:
        with ResultFolder(folder) as target:
            write_results(target.path, "crash", frames=frames, end=None)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run()


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def word_in(folder: Path) -> str:
    with (folder / "results.jsonl").open() as lines:
        return str(json.loads(lines.readline())["word"])


def test_default_names(tmp_path: Path) -> None:
    first = default_folder("bridge", now=NOON, root=tmp_path)
    assert first == tmp_path / "bridge-20260301-120005"
    first.mkdir()
    second = default_folder("bridge", now=NOON, root=tmp_path)
    assert second == tmp_path / "bridge-20260301-120005-2"
    assert str(default_folder("x", now=NOON)).startswith("runs/x-")


@pytest.mark.parametrize("exists", [False, True])
def test_a_new_folder_is_written_directly(exists: bool, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    if exists:
        folder.mkdir(parents=True)
    with ResultFolder(folder) as target:
        assert target.path == folder
        write_results(target.path, "new")
    assert word_in(folder) == "new", "kept, whether complete or not"


@pytest.mark.parametrize("exists", [False, True])
def test_nothing_is_left_of_a_run_without_frames(exists: bool, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    if exists:
        folder.mkdir(parents=True)
    crash(folder, frames=0)
    assert list(tmp_path.rglob("*")) == ([tmp_path / "a", folder] if exists else [])


def test_a_full_disk_leaves_nothing_that_bars_the_way(tmp_path: Path) -> None:
    for _ in range(2):
        with ResultFolder(tmp_path / "out") as target:
            (target.path / "results.jsonl").write_bytes(b"")
        assert not (tmp_path / "out").exists()


def test_earlier_results_stay_until_the_new_ones_are_kept(tmp_path: Path) -> None:
    write_results(tmp_path, "old")
    (tmp_path / "marked-2.mp4").write_text("old")
    (tmp_path / "marked").mkdir()
    (tmp_path / "marked" / "a.jpg").write_text("old")
    (tmp_path / "my notes.txt").write_text("mine")
    with ResultFolder(tmp_path) as target:
        assert target.path != tmp_path
        write_results(target.path, "new")
        assert word_in(tmp_path) == "old"
        target.keep()
    assert target.path == tmp_path
    assert contents(tmp_path) == {"results.jsonl", "marked.mp4", "my notes.txt"}
    assert word_in(tmp_path) == (tmp_path / "marked.mp4").read_text() == "new"


def test_results_that_are_not_kept_lie_beside_the_earlier_ones(tmp_path: Path) -> None:
    write_results(tmp_path, "old")
    for number, name in enumerate(("unfinished", "unfinished-2")):
        with ResultFolder(tmp_path) as target:
            write_results(target.path, f"new {number}")
        assert target.path == tmp_path / name
        assert word_in(target.path) == f"new {number}"
        assert word_in(tmp_path) == "old"
    with ResultFolder(tmp_path) as target:
        write_results(target.path, "newest")
        target.keep()
    assert word_in(tmp_path) == "newest"
    assert unfinished_in(tmp_path) == ["new 0", "new 1"], "nobody asked to have them removed"


def unfinished_in(folder: Path) -> list[str]:
    return sorted(word_in(file.parent) for file in folder.glob("unfinished*/results.jsonl"))


@pytest.mark.parametrize("parts", [False, True])
def test_what_a_killed_run_left_makes_way_without_being_lost(parts: bool, tmp_path: Path) -> None:
    names = ("a", "b") if parts else (None,)
    for name in names:  # the last of them killed
        write_results(tmp_path / (name or ""), "killed", part=name, end=None if name == names[-1] else END)
    for word in ("new", "newer"):
        with ResultFolder(tmp_path) as target:
            write_results(target.path, word)
            target.keep()
        assert word_in(tmp_path) == word
    killed = {f"unfinished-2/{part}" for part in (("a/", "b/") if parts else ("",))}
    files = {f"{place}{file}" for place in (*killed, "") for file in ("results.jsonl", "marked.mp4")}
    assert contents(tmp_path) == files, "and what is complete is replaced"


@pytest.mark.parametrize(
    ("complete", "live", "end"),
    [
        (True, False, END),
        (True, False, {**END, "reason": "max-frames"}),
        (True, True, {**END, "reason": "interrupted"}),
        (False, False, {**END, "reason": "interrupted"}),
        (False, True, {**END, "reason": "lost"}),
        (False, True, {**END, "reason": "interrupted", "lost_outputs": [{"name": "marked.mp4"}]}),
        (False, False, None),
    ],
)
def test_complete_results_are_replaced_and_others_set_aside(
    complete: bool, live: bool, end: dict[str, Any] | None, tmp_path: Path
) -> None:
    write_results(tmp_path, "old", live=live, end=end)
    with ResultFolder(tmp_path) as target:
        write_results(target.path, "new")
        target.keep()
    assert word_in(tmp_path) == "new"
    assert unfinished_in(tmp_path) == ([] if complete else ["old"])


def test_a_summary_that_was_cut_off_is_none(tmp_path: Path) -> None:
    write_results(tmp_path, "old")
    lines = (tmp_path / "results.jsonl").read_bytes()
    (tmp_path / "results.jsonl").write_bytes(lines.rstrip(b"\n"))
    with ResultFolder(tmp_path) as target:
        write_results(target.path, "new")
        target.keep()
    assert unfinished_in(tmp_path) == ["old"]


@pytest.mark.parametrize(("main_s", "newest"), [(1000, "."), (100, "unfinished-2")])
def test_a_run_is_resumed_where_the_last_one_wrote(main_s: int, newest: str, tmp_path: Path) -> None:
    for name, written_s in ((".", main_s), ("unfinished", 300), ("unfinished-2", 500)):
        write_results(tmp_path / name, name)
        os.utime(tmp_path / name / "results.jsonl", (written_s, written_s))
    with ResultFolder(tmp_path, resume=True) as target:
        assert target.path == tmp_path / newest


def test_a_run_that_goes_on_in_the_same_folder_leaves_what_is_there(tmp_path: Path) -> None:
    for number in range(3):
        with ResultFolder(tmp_path, onward=True) as target:
            assert target.path == tmp_path
            write_results(target.path, f"{number}", end=None)
            (tmp_path / "results.jsonl").rename(tmp_path / f"results-{number:06d}.jsonl")
            target.keep()
    (tmp_path / "marked.mp4").unlink()
    assert contents(tmp_path) == {f"results-{number:06d}.jsonl" for number in range(3)}, "killed between two parts"
    with ResultFolder(tmp_path, onward=True):
        pass
    assert len(contents(tmp_path)) == 3, "a run without frames takes nothing away"


def test_what_is_in_unfinished_folders_is_not_discarded(tmp_path: Path) -> None:
    write_results(tmp_path, "empty", frames=0, video=False, end=None)
    write_results(tmp_path / "unfinished" / "a", "killed", part="a", end=None)
    with ResultFolder(tmp_path, onward=True):
        pass
    assert word_in(tmp_path / "unfinished" / "a") == "killed"


def test_a_failure_leaves_earlier_results_as_they_were(tmp_path: Path) -> None:
    write_results(tmp_path, "old")
    before = contents(tmp_path)
    crash(tmp_path, frames=0)
    assert contents(tmp_path) == before
    assert word_in(tmp_path) == "old"


def test_what_a_crash_left_half_written_is_not_thrown_away(tmp_path: Path) -> None:
    crash(tmp_path / "out", frames=3)
    assert word_in(tmp_path / "out") == "crash"


@pytest.mark.parametrize(
    "content", ["", "hello", "{}", '{"type": "frame"}', '{"type": "header"}', "[1]", '{"schema": 1}', "\ufffd"]
)
def test_foreign_folders_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "results-mine.jsonl").write_text('{"type": "header", "schema": 1}\n')  # what a sink may have written
    (tmp_path / "results.jsonl").write_text(content)
    (tmp_path / "thesis.tex").write_text("years of work")
    if content:
        assert not is_result_folder(tmp_path)
        with pytest.raises(OutputError, match="not results of crackedge"):
            ResultFolder(tmp_path)
    (tmp_path / "results.jsonl").unlink()
    with pytest.raises(OutputError, match="new or empty folder"):
        ResultFolder(tmp_path)
    assert contents(tmp_path) == {"thesis.tex", "results-mine.jsonl"}


def test_a_folder_of_runs_is_not_a_run(tmp_path: Path) -> None:
    """As `-o runs` would have it: each of them is ours, and none may go."""
    write_results(tmp_path / "bridge-1", "one")
    write_results(tmp_path / "bridge-2", "two")
    with pytest.raises(OutputError):
        ResultFolder(tmp_path)


def test_parts_of_one_run_are_replaced_together(tmp_path: Path) -> None:
    for part in ("a", "b"):
        write_results(tmp_path / part, "old", part=part)
    with ResultFolder(tmp_path) as target:
        write_results(target.path / "b", "new", part="b")
        target.keep()
    assert contents(tmp_path) == {"b/results.jsonl", "b/marked.mp4"}
    with ResultFolder(tmp_path) as target:
        write_results(target.path, "single")
        target.keep()
    assert contents(tmp_path) == {"results.jsonl", "marked.mp4"}
    with ResultFolder(tmp_path) as target:
        write_results(target.path / "c", "parts again", part="c")
        target.keep()
    assert contents(tmp_path) == {"c/results.jsonl", "c/marked.mp4"}


def test_a_part_that_was_moved_elsewhere_is_a_run_of_its_own(tmp_path: Path) -> None:
    write_results(tmp_path / "renamed", "old", part="a")
    with pytest.raises(OutputError):
        ResultFolder(tmp_path)
    assert is_result_folder(tmp_path / "renamed")


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    for place in (tmp_path / "out", tmp_path / "out" / "deeper"):
        with pytest.raises(OutputError, match=re.escape(str(place))) as raised, ResultFolder(place):
            pass
        assert "\n" not in str(raised.value)


def test_a_place_that_cannot_be_made() -> None:
    with pytest.raises(OutputError, match=r"/proc/no/such: cannot be written"), ResultFolder(Path("/proc/no/such")):
        pass


def test_a_source_in_the_folder_is_not_overwritten(tmp_path: Path) -> None:
    write_results(tmp_path, "old")
    with pytest.raises(OutputError, match=r"the source .*marked.mp4 lies in it"):
        ResultFolder(tmp_path, reading=[tmp_path / "marked.mp4"])


def test_the_folder_that_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for word in ("first", "second"):
        with ResultFolder(Path()) as target:
            write_results(target.path, word)
            target.keep()
        assert word_in(tmp_path) == word
        assert contents(tmp_path) == {"results.jsonl", "marked.mp4"}


def test_has_frames(tmp_path: Path) -> None:
    assert not has_frames(tmp_path / "none")
    write_results(tmp_path / "x", "w", frames=0, end=None)
    assert not has_frames(tmp_path)
    write_results(tmp_path / "y", "w", frames=1, video=False)
    assert has_frames(tmp_path)


def test_two_runs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with ResultFolder(folder) as first:
        write_results(first.path, "first")
        with pytest.raises(OutputError, match="another run writes there"), ResultFolder(folder):
            pass
        assert contents(folder) == {"results.jsonl", "marked.mp4"}
    with ResultFolder(folder) as second:
        write_results(second.path, "second")
        second.keep()
    assert word_in(folder) == "second"
