"""Files that are on the disk soon after they were written."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from crackedge.edge_runtime import Scanner
from crackedge.edge_runtime.runs import run_sources
from crackedge.edge_runtime.sinks.write_through import written_through


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Name and length of each file that was put on the disk."""
    seen: list[tuple[str, int]] = []
    really = os.fsync

    def fsync(file: int) -> None:
        really(file)
        seen.append((Path(f"/proc/self/fd/{file}").readlink().name, os.fstat(file).st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


def test_what_grows_is_put_on_the_disk(synced: list[tuple[str, int]], tmp_path: Path) -> None:
    with written_through(tmp_path), (tmp_path / "grows").open("wb") as file:
        for length in (1, 2):
            file.write(b"x")
            file.flush()
            waiting = threading.Event()
            while ("grows", length) not in synced:
                waiting.wait(0.02)
        (tmp_path / "late").write_bytes(b"12345")
    assert ("late", 5) in synced
    assert len(synced) == len(set(synced)), "only what changed"


def test_a_run(synced: list[tuple[str, int]], tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_sources(["scene:?frames=5&size=320x240"], lambda: Scanner(tiny_model, threads=1), output=out)
    for name in ("results.jsonl", "marked.mp4"):
        assert (name, (out / name).stat().st_size) in synced, "whole"


def test_a_folder_that_goes_away(tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    folder.mkdir()
    with written_through(folder):
        folder.rmdir()
