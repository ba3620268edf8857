"""The grammar of ``--sink``, and what each address opens."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import av
import pytest

from crackedge.edge_runtime import MissingExtraError, OptionError, OutputError, open_source
from crackedge.edge_runtime.notices import Notices
from crackedge.edge_runtime.sinks.rotation import KeptFiles, RotationOptions
from crackedge.edge_runtime.sinks.sink_address import SinkContext, open_sink, parse_sinks
from crackedge.edge_runtime.stop import StopFlag

SOURCE = open_source("scene:?frames=3&size=320x256&fps=10")


def context(*, part: str | None = None, rotation: RotationOptions | None = None, **options: Any) -> SinkContext:
    notices = Notices()
    kept = KeptFiles(rotation or RotationOptions(), notices)
    return SinkContext(source=SOURCE, stop=StopFlag(), notices=notices, kept=kept, part=part, **options)


def write(text: str, scanned: Any, **options: Any) -> None:
    (address,) = parse_sinks([text])
    with open_sink(address, context(**options)) as sink:
        sink.note({"type": "header", "source": {"uri": "scene:"}})
        for index in range(3):
            sink.write(*scanned(index, cracks=index))
        sink.finish()
        sink.note({"type": "summary"})


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_files_and_folders_are_made_and_never_replaced(scanned: Any, tmp_path: Path) -> None:
    texts = ["jsonl:lines.jsonl", "csv:c.csv", "video:v.mp4", "images:a/marked", "crops:crops"]
    for text in texts:
        kind, name = text.split(":")
        write(f"{kind}:{tmp_path / name}", scanned)
    first = files_in(tmp_path)
    assert first == [
        "a/marked/000001.jpg", "a/marked/000002.jpg", "c.csv", "crops/000001-1.jpg", "crops/000002-1.jpg",
        "crops/000002-2.jpg", "lines.jsonl", "v.mp4",
    ]  # fmt: skip
    before = {name: (tmp_path / name).read_bytes() for name in first}
    for text in texts:
        kind, name = text.split(":")
        write(f"{kind}:{tmp_path / name}", scanned)
    assert all((tmp_path / name).read_bytes().startswith(data) for name, data in before.items())
    assert {"v-2.mp4", "a/marked/000001-2.jpg", "crops/000001-1-2.jpg"} <= set(files_in(tmp_path))
    kinds = [json.loads(line)["type"] for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert kinds == ["header", "frame", "frame", "frame", "summary"] * 2
    assert len((tmp_path / "c.csv").read_text().splitlines()) == 1 + 2 * 3


def test_a_video_has_room_for_its_next_part(scanned: Any, tmp_path: Path) -> None:
    """Frames of another size go to a file with the next number; it may not be another run's."""
    (tmp_path / "v-2.mp4").write_bytes(b"another run's")
    write(f"video:{tmp_path / 'v.mp4'}", scanned)
    assert files_in(tmp_path) == ["v-2.mp4", "v-3.mp4"]


def test_several_sources_have_a_file_each(scanned: Any, tmp_path: Path) -> None:
    for text in ("csv:c.csv", "crops:crops", "video:v.mp4"):
        kind, name = text.split(":")
        write(f"{kind}:{tmp_path / name}", scanned, part="north")
    assert files_in(tmp_path)[0] == "c-north.csv"
    assert files_in(tmp_path)[1].startswith("crops/north/")
    assert files_in(tmp_path)[-1] == "v-north.mp4"


def test_files_in_parts(scanned: Any, tmp_path: Path) -> None:
    rotation = RotationOptions(part_s=0.1)
    for text in ("jsonl:r.jsonl", "video:v.mp4"):
        kind, name = text.split(":")
        write(f"{kind}:{tmp_path / name}", scanned, rotation=rotation)
    numbers = ("-000001", "-000002", "")
    assert files_in(tmp_path) == [
        f"{name}{n}{suffix}" for name, suffix in (("r", ".jsonl"), ("v", ".mp4")) for n in numbers
    ]
    for name in ("v-000001.mp4", "v.mp4"):
        with av.open(str(tmp_path / name)) as container:
            assert len(list(container.decode(video=0))) == 1


def test_stdout(scanned: Any, capfd: pytest.CaptureFixture[str]) -> None:
    (address,) = parse_sinks(["jsonl:-"])
    assert address.to_stdout
    write("jsonl:-", scanned, scores=True, rotation=RotationOptions(part_s=0.1))
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [one["type"] for one in lines] == ["header", "frame", "frame", "frame", "summary"]
    assert "scores" in lines[1]


def test_commands(scanned: Any, tmp_path: Path) -> None:
    write(f"exec:echo $CRACKEDGE_SOURCE $CRACKEDGE_REGIONS >> {tmp_path / 'o:ut'}", scanned)
    assert (tmp_path / "o:ut").read_text() == "scene: 1\nscene: 2\n"


def test_the_network(scanned: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        write(f"tcp://127.0.0.1:{server.getsockname()[1]}", scanned)
        connection, _ = server.accept()
        with connection, connection.makefile() as lines:
            assert [json.loads(line)["type"] for line in lines] == ["header", "frame", "frame", "frame", "summary"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        write(f"udp://127.0.0.1:{receiver.getsockname()[1]}", scanned)
        assert [json.loads(receiver.recv(9000))["type"] for _ in range(5)] == ["header", *["frame"] * 3, "summary"]


def test_passwords_are_in_no_name() -> None:
    pytest.importorskip("paho.mqtt.client", reason="the extra mqtt is not installed")
    for text, name in (
        ("mqtt://user:hu%40sh@host/a/b", "mqtt://host/a/b"),
        ("mqtts://user:hush@host:99/a%20b", "mqtts://host:99/a%20b"),
        ("mqtt://hush@[::1]/t", "mqtt://[::1]/t"),
        ("exec:curl -H hush", "exec"),
    ):
        (address,) = parse_sinks([text])
        assert open_sink(address, context()).name == name


@pytest.mark.parametrize(
    "text",
    ["", "out.csv", "csv:", "csv: ", "jsonl", "window:x", "exec:", "udp://host", "udp:host:9", "tcp://:9", "tcp://host:port",
     "tcp://host:99999", "tcp://host:9/path", "tcp://[::1:9", "http://host:80", "ftp://u:hush@host/x", "mqtt://u:hush@host",
     "mqtt://u:hush@host/", "mqtt://u:hu@sh@host/a/#", "mqtt://host/a%2B", "mqtt://u:1/hush@host/a", "mqtt://u:hu#sh@host/a"],
)  # fmt: skip
def test_what_is_no_sink_is_said_without_passwords(text: str) -> None:
    with pytest.raises(OptionError, match=r"expected jsonl:PATH, .* or exec:COMMAND") as raised:
        parse_sinks([text])
    assert "\n" not in str(raised.value)
    assert "hu" not in str(raised.value)


def test_the_same_twice() -> None:
    with pytest.raises(OptionError, match="given twice"):
        parse_sinks(["csv:a.csv", "csv:b.csv", "csv:a.csv"])


def test_no_folder_to_write_to(tmp_path: Path) -> None:
    for kind in ("csv", "jsonl", "video"):
        (address,) = parse_sinks([f"{kind}:{tmp_path / 'no' / 'x'}"])
        with pytest.raises(OutputError, match="no such folder"):
            open_sink(address, context())


def test_a_window_only_where_there_can_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crackedge.edge_runtime.sinks.window.has_window", lambda: False)
    with pytest.raises(OptionError, match="no window can be opened here"):
        parse_sinks(["window:"])
    monkeypatch.setattr("crackedge.edge_runtime.sinks.window.has_window", lambda: True)
    (address,) = parse_sinks(["window:"])
    assert open_sink(address, context()).name == f"crackedge {SOURCE.name}"


def test_a_missing_extra_is_said_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crackedge.edge_runtime.sinks.mqtt.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="pip install"):
        parse_sinks(["csv:a.csv", "mqtt://host/topic"])
