"""Records over real sockets: what arrives, and what happens when nobody is there."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackedge.edge_runtime import OutputError
from crackedge.edge_runtime.notices import Notices
from crackedge.edge_runtime.sinks.network_sinks import NetworkSink, TcpLink, UdpLink, datagram
from crackedge.edge_runtime.sinks.sink import Recorded
from crackedge.edge_runtime.stop import StopFlag

HEADER = {"type": "header", "schema": 1}


def until(done: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline_s, "in vain"
        time.sleep(0.01)


class Listener:
    """Takes JSON lines from one connection after the other; ``drop`` hangs up."""

    def __init__(self, port: int = 0) -> None:
        self.connections: list[list[dict[str, Any]]] = []
        self._server = socket.create_server(("127.0.0.1", port))
        self.port: int = self._server.getsockname()[1]
        self._now: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self._now.append(connection)
                got: list[dict[str, Any]] = []
                self.connections.append(got)
                with connection, connection.makefile("rb") as lines, contextlib.suppress(OSError):
                    got.extend(json.loads(line) for line in lines)  # in place, line by line

    def drop(self) -> None:
        self._now[-1].shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for connection in self._now:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(30)


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    listeners: list[Listener] = []

    def make(port: int = 0) -> Listener:
        listeners.append(Listener(port))
        return listeners[-1]

    yield make
    for listener in listeners:
        listener.close()


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def tcp(port: int, *, live: bool, notices: Notices | None = None, **options: Any) -> NetworkSink:
    link = TcpLink("127.0.0.1", port)
    return NetworkSink(f"tcp://127.0.0.1:{port}", link, live=live, notices=notices or Notices(), **options)


def frame(index: int) -> dict[str, Any]:
    return {"type": "frame", "index": index, "regions": []}


@pytest.mark.parametrize("live", [True, False])
def test_lines_over_tcp(live: bool, listen: Any, scanned: Any) -> None:
    listener = listen()
    with Recorded(tcp(listener.port, live=live)) as sink:
        sink.note(HEADER)
        for index in range(5):
            sink.write(*scanned(index, cracks=index))
        sink.finish()
        sink.note({"type": "summary"})
        until(lambda: bool(listener.connections) and len(listener.connections[0]) == 7)
        assert sink.dropped == 0
    header, *frames, summary = listener.connections[0]
    assert (header, summary) == (HEADER, {"type": "summary"})
    assert [len(one["regions"]) for one in frames] == [0, 1, 2, 3, 4]


def test_a_reader_that_hangs_up_comes_back_to_a_header(listen: Any) -> None:
    listener, notices = listen(), Notices()
    with tcp(listener.port, live=False, notices=notices) as sink:
        sink.note(HEADER)
        sink.note(frame(0))
        until(lambda: listener.connections != [] and len(listener.connections[0]) == 2)
        listener.drop()
        until(lambda: len(listener.connections[0]) == 2)
        for index in range(1, 4):
            sink.note(frame(index))
        sink.finish()
        until(lambda: len(listener.connections) == 2 and len(listener.connections[1]) == 4)
    assert listener.connections == [[HEADER, frame(0)], [HEADER, frame(1), frame(2), frame(3)]]
    assert notices.take() == [f"{sink.name}: closed by the other side; trying again"]


def test_a_live_source_drops_what_nobody_takes_and_goes_on_when_somebody_comes(listen: Any, free_port: int) -> None:
    notices = Notices()
    with tcp(free_port, live=True, notices=notices) as sink:
        sink.note(HEADER)
        for index in range(50):
            sink.note(frame(index))
        sink.note({"type": "gap"})
        assert sink.dropped == 50, "other records are not counted"
        assert notices.take() == [f"{sink.name}: Connection refused; trying again"], "said once"
        listener, number = listen(free_port), 50
        while sink.dropped == number:
            sink.note(frame(number))
            number += 1
            time.sleep(0.02)
            assert number < 1500
        sink.finish()
        until(lambda: len(listener.connections) == 1 and len(listener.connections[0]) == 2)
    assert listener.connections == [[HEADER, frame(number - 1)]]


def test_a_live_sink_that_nobody_ever_took_from_is_lost(free_port: int) -> None:
    with tcp(free_port, live=True) as sink:
        sink.note(frame(0))
        with pytest.raises(OutputError, match=r"nothing could be sent \(Connection refused\)"):
            sink.finish()


def test_a_file_run_waits_up_to_a_limit_or_until_it_is_to_stop(free_port: int) -> None:
    with tcp(free_port, live=False, give_up_s=0.1) as sink, pytest.raises(OutputError, match="cannot be reached"):
        sink.note(frame(0))
    stop = StopFlag()
    threading.Timer(0.1, stop.ask).start()
    with tcp(free_port, live=False, stop=stop) as sink, pytest.raises(OutputError, match="cannot be reached"):
        sink.note(frame(0))


def test_a_host_that_does_not_exist() -> None:
    notices = Notices()
    for link in (TcpLink("no.such.host.invalid", 9), UdpLink("no.such.host.invalid", 9)):
        with NetworkSink("x", link, live=True, notices=notices) as sink:
            sink.note(frame(0))
            assert sink.dropped == 1
    assert len(notices.take()) == 2


def test_a_host_that_no_host_can_be_called() -> None:
    notices = Notices()
    for link in (TcpLink("10.0.0..5", 9), UdpLink("camera..local", 9)):
        with NetworkSink("x", link, live=True, notices=notices) as sink:
            sink.note(frame(0))
            assert sink.dropped == 1
    assert all("trying again" in notice for notice in notices.take() if isinstance(notice, str))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_datagrams(host: str, scanned: Any) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as receiver:
        try:
            receiver.bind((host, 0))
        except OSError:
            pytest.skip(f"no {host} here")
        receiver.settimeout(30)
        link = UdpLink(host, receiver.getsockname()[1])
        with Recorded(NetworkSink("udp", link, live=True, notices=Notices()), scores=True) as sink:
            sink.note(HEADER)
            sink.write(*scanned(3, cracks=2))
            sink.finish()
            got = [json.loads(receiver.recv(1 << 16)) for _ in range(2)]
    assert got[0] == HEADER
    assert (got[1]["index"], len(got[1]["regions"]), got[1]["scores"]["window"]) == (3, 2, 224)


def test_datagrams_to_nobody_are_not_missed() -> None:
    with NetworkSink("udp", UdpLink("127.0.0.1", 9), live=True, notices=Notices()) as sink:
        for index in range(5):
            sink.note(frame(index))
        sink.finish()
        assert sink.dropped == 0


@given(regions=st.integers(0, 60), scores=st.integers(0, 300), most=st.integers(200, 6000))
def test_what_is_too_large_is_shortened_and_says_so(regions: int, scores: int, most: int) -> None:
    region = {"bbox": [0, 0, 32, 32], "polygon": [[0, 0]] * 20, "score": 0.5, "cells": [[0, 0]] * 10}
    whole = {**frame(7), "regions": [region] * regions, "scores": {"values": [0.5] * scores}}
    text = datagram(whole, most=most)
    got = json.loads(text)
    assert len(text) <= most
    missing = got.pop("shortened", [])
    assert bool(missing) is (len(json.dumps(whole, separators=(",", ":"))) > most)
    assert missing == ["scores", "cells", "polygon", "regions"][: len(missing)], "the least important first"
    assert (got["type"], got["index"]) == ("frame", 7)
    assert ("scores" in got) is ("scores" not in missing)
    kept = got["regions"]
    assert len(kept) == regions or "regions" in missing
    assert all(("cells" in one) is ("cells" not in missing) for one in kept)
    assert all((one["bbox"], one["score"]) == ([0, 0, 32, 32], 0.5) for one in kept)


def test_other_records_that_are_too_large_say_only_what_they_are() -> None:
    assert json.loads(datagram({"type": "summary", "skipped": ["x"] * 1000}, most=500)) == {
        "type": "summary",
        "shortened": ["all"],
    }
