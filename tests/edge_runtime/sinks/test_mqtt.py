"""Records over MQTT: to a broker of a few lines, and to mosquitto where that is installed."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crackedge.edge_runtime import MissingExtraError, OutputError
from crackedge.edge_runtime.notices import Notices
from crackedge.edge_runtime.sinks.mqtt import MqttLink, require_mqtt
from crackedge.edge_runtime.sinks.network_sinks import NetworkSink
from crackedge.edge_runtime.sinks.sink import Recorded

USER, PASSWORD, TOPIC = "drone", "p@ss:w/rd", "bridge 7/cracks"
HEADER = {"type": "header", "schema": 1}
_CONNECT, _CONNACK, _PUBLISH, _PUBACK, _PING, _PONG, _DISCONNECT = 1, 2, 3, 4, 12, 13, 14


class TinyBroker:
    """Takes connections with the right password, and acknowledges what is published: as much of MQTT 3.1.1 as it takes.

    Attributes:
        deaf: acknowledges nothing, where true.
        hangs_up: once it has acknowledged a message, where true.
    """

    def __init__(self, _: Path) -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.deaf = self.hangs_up = False
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                with connection, connection.makefile("rwb") as stream, contextlib.suppress(OSError, IndexError):
                    while self._answer(stream):
                        stream.flush()

    def _answer(self, stream: Any) -> bool:
        first, length, shift = stream.read(1)[0], 0, 0
        while True:
            (byte,) = stream.read(1)
            length |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                break
        body, kind = stream.read(length), first >> 4
        if kind == _CONNECT:
            *_, user, password = _texts(body[10:])
            right = (user, password) == (USER, PASSWORD)
            stream.write(bytes([_CONNACK << 4, 2, 0, 0 if right else 5]))
        elif kind == _PUBLISH:
            size = int.from_bytes(body[:2], "big")
            self.messages.append((body[2 : 2 + size].decode(), json.loads(body[4 + size :])))
            if not self.deaf:
                stream.write(bytes([_PUBACK << 4, 2]) + body[2 + size : 4 + size])
            stream.flush()
            return not self.hangs_up
        elif kind == _PING:
            stream.write(bytes([_PONG << 4, 0]))
        return bool(kind != _DISCONNECT)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(30)


def _texts(data: bytes) -> Iterator[str]:
    while data:
        size = int.from_bytes(data[:2], "big")
        yield data[2 : 2 + size].decode()
        data = data[2 + size :]


class Mosquitto:
    """The real one, with a subscriber."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin") or shutil.which("mosquitto")
        passwd = shutil.which("mosquitto_passwd")
        if program is None or passwd is None:
            pytest.skip("mosquitto is not installed")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        subprocess.run([passwd, "-b", "-c", str(folder / "users"), USER, PASSWORD], check=True, capture_output=True)
        (folder / "users").chmod(0o644)
        settings = (
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {folder / 'users'}\nuser root\n"
        )
        (folder / "broker.conf").write_text(settings)
        self._process = subprocess.Popen([program, "-c", str(folder / "broker.conf")], stderr=subprocess.DEVNULL)
        self.messages: list[tuple[str, dict[str, Any]]] = []
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        subscribed = threading.Event()
        self._reader = paho.Client(CallbackAPIVersion.VERSION2)
        self._reader.username_pw_set(USER, PASSWORD)
        self._reader.on_message = lambda *got: self.messages.append((got[2].topic, json.loads(got[2].payload)))
        self._reader.on_connect = self._subscribe
        self._reader.on_subscribe = lambda *_: subscribed.set()
        self._reader.connect_async("127.0.0.1", self.port)
        self._reader.reconnect_delay_set(1, 1)
        self._reader.loop_start()
        assert subscribed.wait(30)

    def _subscribe(self, *_: object) -> None:
        self._reader.subscribe("#", qos=1)

    def close(self) -> None:
        self._reader.disconnect()
        self._reader.loop_stop()
        self._process.terminate()
        self._process.wait(30)


@pytest.fixture(params=[TinyBroker, Mosquitto])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    pytest.importorskip("paho.mqtt.client", reason="the extra mqtt is not installed")
    there = request.param(tmp_path)
    yield there
    there.close()


@pytest.fixture
def tiny_broker(tmp_path: Path) -> Iterator[TinyBroker]:
    pytest.importorskip("paho.mqtt.client", reason="the extra mqtt is not installed")
    there = TinyBroker(tmp_path)
    yield there
    there.close()


def sink_to(port: int, *, password: str = PASSWORD, live: bool = False, **options: Any) -> Recorded:
    link = MqttLink("127.0.0.1", port, TOPIC, user=USER, password=password)
    options.setdefault("notices", Notices())
    return Recorded(NetworkSink("mqtt://broker", link, live=live, **options))


def until(done: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline_s, "in vain"
        time.sleep(0.01)


def test_messages_arrive_in_order(broker: Any, scanned: Any) -> None:
    with sink_to(broker.port) as sink:
        sink.note(HEADER)
        for index in range(6):
            sink.write(*scanned(index, cracks=index))
        sink.finish()
        sink.note({"type": "summary"})
        until(lambda: len(broker.messages) == 8)
        assert sink.dropped == 0
    assert {topic for topic, _ in broker.messages} == {TOPIC}
    (_, header), *frames, (_, summary) = broker.messages
    assert (header, summary) == (HEADER, {"type": "summary"})
    assert [len(frame["regions"]) for _, frame in frames] == [0, 1, 2, 3, 4, 5]


def test_a_wrong_password_is_said_but_not_shown(broker: Any, scanned: Any) -> None:
    notices = Notices()
    with sink_to(broker.port, password="hush", live=True, notices=notices) as sink:
        sink.write(*scanned(0))
        with pytest.raises(OutputError, match="the broker says: Not authorized") as raised:
            sink.finish()
    warnings = notices.take()
    assert len(warnings) == 1
    assert "hush" not in f"{warnings}{raised.value}"


def test_nobody_there(tiny_broker: TinyBroker, scanned: Any) -> None:
    tiny_broker.close()
    with (
        sink_to(tiny_broker.port, give_up_s=0.2) as sink,
        pytest.raises(OutputError, match="cannot be reached"),
    ):
        sink.write(*scanned(0))


def test_what_is_not_acknowledged_is_not_sent(
    tiny_broker: TinyBroker, scanned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crackedge.edge_runtime.sinks.mqtt.SEND_S", 0.2)
    notices = Notices()
    with sink_to(tiny_broker.port, live=True, notices=notices) as sink:
        sink.write(*scanned(0))
        tiny_broker.deaf = True
        sink.write(*scanned(1))
        assert sink.dropped == 1
        sink.finish()
    assert notices.take() == ["mqtt://broker: no acknowledgement from the broker; trying again"]


def test_a_broker_that_starts_anew_between_two_messages_is_found_again(
    tiny_broker: TinyBroker, scanned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crackedge.edge_runtime.sinks.network_sinks._FIRST_PAUSE_S", 0.05)
    notices = Notices()
    link = MqttLink("127.0.0.1", tiny_broker.port, TOPIC, user=USER, password=PASSWORD)
    with Recorded(NetworkSink("mqtt://broker", link, live=True, notices=notices)) as sink:
        tiny_broker.hangs_up = True
        sink.write(*scanned(0))
        client = link._client
        assert client is not None
        until(lambda: not client.is_connected())
        sink.write(*scanned(1))
        assert sink.dropped == 1
        tiny_broker.hangs_up = False

        def written() -> bool:
            sink.write(*scanned(2))
            return any(message["index"] == 2 for _, message in tiny_broker.messages)

        until(written)
        sink.finish()
    assert notices.take() == ["mqtt://broker: no acknowledgement from the broker; trying again"]


def test_a_missing_extra_names_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crackedge.edge_runtime.sinks.mqtt.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'crackedge\[mqtt\]'"):
        require_mqtt()
