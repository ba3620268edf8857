"""Commands of the user's own, run for cracks."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from crackedge.edge_runtime import OutputError
from crackedge.edge_runtime.notices import Notices
from crackedge.edge_runtime.sinks.command_sink import CommandSink
from crackedge.edge_runtime.sinks.sink import Recorded
from crackedge.edge_runtime.stop import StopFlag

HEADER = {"type": "header", "source": {"uri": "rtsp://camera/1"}}


def test_it_gets_the_record_and_the_most_of_it_in_its_environment(scanned: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = (
        f"(cat; echo; echo $CRACKEDGE_SOURCE,$CRACKEDGE_FRAME,$CRACKEDGE_TIME_S,$CRACKEDGE_REGIONS,$CRACKEDGE_SCORE,"
        f"$CRACKEDGE_BBOX,$CRACKEDGE_FILE) >> {out}"
    )
    with Recorded(CommandSink(command, notices=Notices())) as sink:
        sink.note(HEADER)
        for index in range(4):
            sink.write(*scanned(index, cracks=index % 2 * 2, file="a b.jpg"))
        sink.finish()
        sink.note({"type": "summary"})
    lines = out.read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines[::2]] == [1, 3]
    assert lines[1] == "rtsp://camera/1,1,0.1,2,0.9,0 0 48 32,a b.jpg"


def test_one_that_fails_is_said_once_and_counted(scanned: Any) -> None:
    notices = Notices()
    sink = CommandSink("test $CRACKEDGE_FRAME != 2 || kill -9 $$; test $CRACKEDGE_FRAME = 1", notices=notices)
    with Recorded(sink) as recorded:
        for index in range(4):
            recorded.write(*scanned(index, cracks=1))
        with pytest.raises(OutputError, match=r"failed 3 of 4 times \(it ended with exit code 1\)"):
            recorded.finish()
    assert notices.take() == ["exec: the command ended with exit code 1; it is run again for the next crack"]


def test_one_that_takes_too_long_is_killed_with_its_children(scanned: Any, tmp_path: Path) -> None:
    command = f"sleep 300 & echo $! > {tmp_path / 'pid'}; wait"
    with Recorded(CommandSink(command, notices=Notices(), limit_s=0.5)) as sink:
        sink.write(*scanned(0, cracks=1))
        with pytest.raises(OutputError, match=r"took more than 0\.5 s"):
            sink.finish()
    gone(int((tmp_path / "pid").read_text()))


def test_one_that_is_at_work_when_the_run_stops_is_ended(scanned: Any, tmp_path: Path) -> None:
    stop = StopFlag()
    threading.Timer(0.3, stop.ask).start()
    command = f"echo $$ > {tmp_path / 'pid'}; sleep 300"
    with Recorded(CommandSink(command, notices=Notices(), stop=stop)) as sink:
        sink.write(*scanned(0, cracks=1))
        (tmp_path / "pid").rename(tmp_path / "first")
        sink.write(*scanned(1, cracks=1))
        assert sink.dropped == 1
    assert not (tmp_path / "pid").exists(), "no other one is begun"
    gone(int((tmp_path / "first").read_text()))


def gone(process: int) -> None:
    deadline_s = time.monotonic() + 30
    while alive(process):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_one_that_reads_nothing_of_a_large_record() -> None:
    record = {"type": "frame", "index": 0, "time_s": 0.0, "cracked": True, "pad": "x" * (1 << 20)}
    record["regions"] = [{"score": 1.0, "bbox": [0, 0, 32, 32]}]
    with CommandSink("true", notices=Notices()) as sink:
        sink.note(record)
        sink.finish()


def test_its_output_goes_to_stderr(scanned: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with Recorded(CommandSink("echo found one", notices=Notices())) as sink:
        sink.write(*scanned(0, cracks=1))
        sink.finish()
    assert capfd.readouterr() == ("", "found one\n")


def test_its_text_is_in_no_message(scanned: Any) -> None:
    notices = Notices()
    with Recorded(CommandSink("exit 3 # token=hush", notices=notices)) as sink:
        sink.write(*scanned(0, cracks=1))
        with pytest.raises(OutputError) as raised:
            sink.finish()
    assert "hush" not in f"{sink.name}{raised.value}{notices.take()}"
    assert os.environ.get("CRACKEDGE_FRAME") is None
