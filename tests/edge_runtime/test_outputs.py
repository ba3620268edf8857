"""Outputs of whole runs that go wrong: full and removed disks, readers that are slow, hang or die."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from crackedge.edge_runtime import OutputError, Scanner, open_source
from crackedge.edge_runtime.notices import Notices
from crackedge.edge_runtime.runner import run
from crackedge.edge_runtime.sinks.rotation import KeptFiles, RotationOptions
from crackedge.edge_runtime.sinks.sink_address import SinkContext, open_sink, parse_sinks
from crackedge.edge_runtime.stop import StopFlag
from crackedge.edge_runtime.tally import Summary

pytestmark = pytest.mark.slow


def noise_and_a_block(number: int) -> Any:
    """A black block, a crack to the tiny model, on what takes much room in a video."""
    image = np.random.default_rng(number).integers(130, 255, (256, 320, 3), np.uint8)
    image[32:200, 10 + number : 150 + number] = 0
    return image


@pytest.fixture
def scan(tiny_model: Path, write_video: Any) -> Callable[..., tuple[Summary, list[str]]]:
    """Runs over 60 frames into sinks; gives the summary and the warnings."""
    clip = write_video(frames=60, size_wh=(320, 256), picture=noise_and_a_block)

    def go(texts: Sequence[str], **options: Any) -> tuple[Summary, list[str]]:
        warnings: list[str] = []
        notices, stop = Notices(), StopFlag()
        with Scanner(tiny_model, threads=1) as scanner, open_source(clip) as source:
            kept = KeptFiles(RotationOptions(), notices)
            context = SinkContext(source=source, stop=stop, notices=notices, kept=kept)
            sinks = [open_sink(address, context) for address in parse_sinks(texts)]
            summary = run(source, scanner, sinks, stop=stop, on_warning=warnings.append, **options)
        return summary, warnings

    return go


def frames_in(path: Path) -> list[int]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [record["index"] for record in records if record["type"] == "frame"]


def lost(summary: Summary) -> list[str]:
    return [one.output for one in summary.lost_outputs]


def test_a_disk_that_gets_full(scan: Any, small_disk: Any, tmp_path: Path) -> None:
    stick = small_disk(kilobytes=1500)
    summary, warnings = scan([f"video:{stick / 'v.mp4'}", f"jsonl:{tmp_path / 'r.jsonl'}"])
    assert summary.frames == 60
    assert lost(summary) == ["v.mp4"]
    assert len(warnings) == 1
    assert re.search(
        r"v\.mp4: cannot be written \(No space left.*free some space; still written: r\.jsonl", warnings[0]
    )
    assert frames_in(tmp_path / "r.jsonl") == list(range(60))
    with av.open(str(stick / "v.mp4")) as container:
        assert 0 < sum(1 for _ in container.decode(video=0)) < 60


def test_all_on_a_disk_that_gets_full(scan: Any, small_disk: Any) -> None:
    stick = small_disk(kilobytes=36)
    (stick / "m").mkdir()
    summary, warnings = scan([f"{kind}:{stick / kind[0]}" for kind in ("jsonl", "csv", "video", "crops")])
    assert summary.frames == 60, "a run whose outputs are all lost still ends as it should"
    assert set(lost(summary)) <= {"j", "c", "v"}
    assert len(warnings) == len(lost(summary)) >= 2, "each said once"
    indices = frames_in(stick / "j")
    assert indices == list(range(len(indices))), "no half line"


def test_a_disk_that_is_full_from_the_start(scan: Any, small_disk: Any) -> None:
    stick = small_disk(kilobytes=4)
    (stick / "fill").write_bytes(bytes(4096))
    with pytest.raises(OutputError, match="No space left"):
        scan([f"jsonl:{stick / 'r.jsonl'}"])


def test_a_disk_that_cannot_be_written_to(scan: Any, small_disk: Any) -> None:
    stick = small_disk(kilobytes=64)
    subprocess.run(["mount", "-o", "remount,ro", str(stick)], check=True)
    for kind in ("jsonl", "csv"):
        with pytest.raises(OutputError, match=r"Read-only file system.*give a folder that can be written to"):
            scan([f"{kind}:{stick / 'x'}"])
    summary, warnings = scan([f"video:{stick / 'v.mp4'}", f"images:{stick / 'm'}", f"crops:{stick / 'c'}"])
    assert sorted(lost(summary)) == ["c", "m", "v.mp4"]
    assert len(warnings) == 3


def test_a_folder_that_is_removed_meanwhile(scan: Any, tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    folder.mkdir()

    video = folder / "v.mp4"

    def remove(progress: Any) -> None:
        deadline_s = time.monotonic() + 10
        while progress.frames == 1 and not video.exists() and time.monotonic() < deadline_s:
            time.sleep(0.01)  # its own thread makes it, with the first picture
        for file in folder.iterdir():
            file.unlink()

    texts = [f"jsonl:{folder / 'r.jsonl'}", f"csv:{folder / 'c.csv'}", f"video:{video}"]
    summary, _ = scan([*texts, f"jsonl:{tmp_path / 'r.jsonl'}"], on_progress=remove)
    assert summary.frames == 60
    assert sorted(lost(summary)) == ["c.csv", "r.jsonl", "v.mp4"]
    assert all("removed meanwhile" in one.reason for one in summary.lost_outputs), "while it lasts, not at the end"
    assert frames_in(tmp_path / "r.jsonl") == list(range(60))


def test_a_command_that_fails_and_a_reader_that_is_not_there_hinder_nobody(scan: Any, tmp_path: Path) -> None:
    summary, _ = scan(["exec:exit 3", f"jsonl:{tmp_path / 'r.jsonl'}", "udp://127.0.0.1:9"])
    assert frames_in(tmp_path / "r.jsonl") == list(range(60))
    assert lost(summary) == ["exec"]
    assert f"failed {summary.cracked_frames} of {summary.cracked_frames} times" in summary.lost_outputs[0].reason


PROGRAM = """
    import sys, threading, time
    from crackedge.edge_runtime import Scanner, open_source
    from crackedge.edge_runtime.notices import Notices
    from crackedge.edge_runtime.sinks.rotation import KeptFiles, RotationOptions
    from crackedge.edge_runtime.runner import run
    from crackedge.edge_runtime.sinks.sink_address import SinkContext, open_sink, parse_sinks
    from crackedge.edge_runtime.stop import stop_on_signals
    model, live, *texts = sys.argv[1:]
    with stop_on_signals() as stop, Scanner(model, threads=1, threshold=0.05) as scanner:
        with open_source("scene:?frames=100000&size=320x256&cracks=3") as source:
            source.live = live == "live"
            notices = Notices()
            kept = KeptFiles(RotationOptions(), notices)
            context = SinkContext(source=source, stop=stop, notices=notices, kept=kept)
            sinks = [open_sink(address, context) for address in parse_sinks(texts)]
            report = lambda progress: print(progress.frames, flush=True)
            summary = run(source, scanner, sinks, stop=stop, on_progress=report)
    print("lost", *[one.output for one in summary.lost_outputs], flush=True)
    sys.exit(7)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("live", ["live", "file"])
def test_readers_that_hang_do_not_hold_up_the_end(
    live: str, number: signal.Signals, tiny_model: Path, tmp_path: Path
) -> None:
    """A pipe that nobody empties, a command that does not end: two threads in the kernel when the signal comes."""
    os.mkfifo(tmp_path / "pipe")
    full = os.open(tmp_path / "pipe", os.O_RDWR | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(full, b"\n" * 4096)
    texts = [
        f"jsonl:{tmp_path / 'pipe'}",
        f"exec:echo $$ > {tmp_path / 'pid'}; exec sleep 300",
        f"jsonl:{tmp_path / 'r.jsonl'}",
    ]
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(PROGRAM),
        str(tiny_model),
        live,
        *texts,
        f"video:{tmp_path / 'v.mp4'}",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    deadline_s = time.monotonic() + 30
    if live == "live":  # the scan goes on in spite of them
        while int(process.stdout.readline()) < 30:
            assert time.monotonic() < deadline_s
    else:  # the scan waits for them
        while not (tmp_path / "pid").exists():
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
    process.send_signal(number)
    sent_s = time.monotonic()
    out, errors = process.communicate(timeout=30)
    took_s = time.monotonic() - sent_s
    assert process.returncode == 7, errors
    assert "Traceback" not in errors
    assert took_s < 5, "2 s, on a machine that does nothing else"
    os.close(full)
    *_, last = out.splitlines()
    assert set(last.split()[1:]) <= {"pipe", "exec"}
    assert "exec" in last
    indices = frames_in(tmp_path / "r.jsonl")
    assert json.loads((tmp_path / "r.jsonl").read_text().splitlines()[-1])["type"] == "summary"
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) <= len(indices)
