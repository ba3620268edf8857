"""The live view over loopback: every address, who may see it, and clients that misbehave."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import itertools
import json
import select
import socket
import threading
import time
import urllib.parse
from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from crackedge.edge_runtime import Frame, OptionError, OutputError, Scanner, open_source
from crackedge.edge_runtime.live_view.memory import LiveView, metrics
from crackedge.edge_runtime.live_view.server import LiveServer, ServeAddress, parse_address
from crackedge.edge_runtime.sources.source import SourceOptions

TOKEN = "correct-horse"


def frame(index: int = 0, *, cracked: bool = True, size_hw: tuple[int, int] = (256, 320)) -> Frame:
    image = np.full((*size_hw, 3), 235, np.uint8)
    if cracked:
        image[32:200, 60:200] = 0
    captured_at = datetime.now(timezone.utc) - timedelta(seconds=0.25)
    return Frame(image, index, index / 10, captured_at=captured_at, dropped_before=index % 2)


class Running:
    """A live view that is served, fed by hand."""

    def __init__(self, model: Path, **options: Any) -> None:
        self.chosen: list[float] = []
        self.scanner = Scanner(model, threads=1)
        self.view = LiveView(model="tiny", threshold=lambda: 0.5)
        self.server = LiveServer(self.view, ServeAddress("127.0.0.1", 0), set_threshold=self.chosen.append, **options)
        self.port = int(self.server.url.rsplit(":", 1)[1].strip("/"))

    def feed(self, count: int = 1, **options: Any) -> None:
        for index in range(count):
            one = frame(self.view.number + index, **options)
            self.view.write(one, self.scanner(one.image))

    def ask(
        self, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())

    def post(self, value: Any) -> int:
        body = json.dumps({"threshold": value}).encode()
        return self.ask("/threshold", method="POST", body=body, Content_Type="application/json")[0]


@pytest.fixture
def running(tiny_model: Path) -> Iterator[Running]:
    made = Running(tiny_model)
    with made.server:
        yield made


@pytest.fixture
def guarded(tiny_model: Path) -> Iterator[Running]:
    made = Running(tiny_model, token=TOKEN, unhealthy_s=1e-6)
    with made.server:
        yield made


def shown(data: bytes) -> Any:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def pictures(running: Running, query: str = "") -> Generator[Any, None, None]:
    """What comes out of the stream."""
    with closing(http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)) as connection:
        connection.request("GET", f"/stream.mjpg{query}")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("multipart/x-mixed-replace; boundary=")
        while True:
            while not (line := answer.fp.readline()).lower().startswith(b"content-length"):
                assert line, "the stream ended"
            length = int(line.split(b":")[1])
            assert answer.fp.readline() == b"\r\n"
            yield shown(answer.fp.read(length))


def test_before_the_first_frame(running: Running) -> None:
    status, body, _ = running.ask("/status.json")
    assert status == 200
    assert json.loads(body)["newest"] is None
    assert running.ask("/snapshot.jpg")[0] == 404
    assert running.ask("/cracks/1.jpg")[0] == 404


def test_the_page(running: Running) -> None:
    status, body, headers = running.ask("/")
    assert status == 200
    page = body.decode()
    assert "/stream.mjpg" in page
    assert "://" not in page, "nothing comes from elsewhere"
    assert "default-src 'self'" in headers["Content-Security-Policy"]


def test_status_and_metrics(running: Running) -> None:
    running.view.note({"type": "header", "source": {"uri": "cam", "kind": "camera", "live": True}})
    running.view.note({"type": "gap"})
    running.feed(3)
    running.feed(1, cracked=False)
    status = json.loads(running.ask("/status.json")[1])
    assert (status["frames"], status["cracked_frames"], status["gaps"]) == (4, 3, 1)
    assert status["source"]["uri"] == "cam"
    assert status["newest"]["regions"] == 0
    assert 0.25 <= status["newest"]["age_s"] < 20
    text = running.ask("/metrics")[1].decode()
    assert "crackedge_frames_total 4\n" in text
    assert 'crackedge_stage_seconds_total{stage="invoke"}' in text
    for line in text.splitlines():
        assert line.startswith("# ") or float(line.rpartition(" ")[2]) >= 0


def test_the_source_itself(running: Running, mjpeg_server: Any) -> None:
    options = SourceOptions(give_up_s=60)
    with open_source(mjpeg_server(frames=8, then="end").url, options) as source:
        running.view.follow(source)
        frames = iter(source)
        while not (found := json.loads(running.ask("/status.json")[1])["source"])["reconnections"]:
            next(frames)
    assert found["connected"] is True
    assert found["frozen"] is False
    assert "crackedge_source_connected 0\n" in running.ask("/metrics")[1].decode(), "it is closed"
    assert "crackedge_reconnections_total 1\n" in running.ask("/metrics")[1].decode()
    running.view.follow(open_source("scene:?frames=1"))
    assert json.loads(running.ask("/status.json")[1])["source"]["connected"] is None
    assert "source_connected" not in running.ask("/metrics")[1].decode()


def test_metrics_leave_out_what_is_not_known() -> None:
    view = LiveView(model="tiny", threshold=lambda: 0.5)
    status = {**view.status(), "temperature_c": None}
    assert "temperature" not in metrics(status)
    assert "temperature_celsius 51" in metrics({**status, "temperature_c": 51.0})


def test_cracks_and_a_snapshot(running: Running) -> None:
    running.feed(1, size_hw=(400, 1600))
    assert shown(running.ask("/snapshot.jpg")[1]).shape == (400, 1600, 3)
    crack = json.loads(running.ask("/status.json")[1])["cracks"][0]
    x0, y0, x1, y1 = crack["bbox"]
    crop = shown(running.ask(f"/cracks/{crack['number']}.jpg")[1])
    assert crop.shape[0] <= y1 - y0 + 64
    assert crop.shape[1] <= x1 - x0 + 64
    assert crop.min() < 30


def test_cracks_are_remembered_as_thumbnails(tiny_model: Path) -> None:
    image = np.full((960, 1280, 3), 235, np.uint8)
    image[64:640, 64:1216] = 0
    view = LiveView(model="tiny", threshold=lambda: 0.5)
    with Scanner(tiny_model, threads=1) as scanner:
        view.write(Frame(image, 0, 0.0), scanner(image))
    (crack,) = view._cracks
    assert crack.bbox[2] - crack.bbox[0] > 960
    height, width = crack.crop.shape[:2]
    assert (width, height) == (480, pytest.approx(250, abs=30))
    assert crack.crop.base is None
    data = view.crop(crack.number)
    assert data is not None
    assert shown(data).shape == crack.crop.shape


def test_one_crack_in_many_frames_is_listed_now_and_then(tiny_model: Path) -> None:
    now_s = [0.0]
    view = LiveView(model="tiny", threshold=lambda: 0.5, clock=lambda: now_s[0])
    with Scanner(tiny_model, threads=1) as scanner:
        for index in range(50):
            now_s[0] = index / 10
            view.write(frame(index), scanner(frame().image))
    assert 9 <= len(view.status()["cracks"]) <= 11
    assert view.status()["fps"] == pytest.approx(10, abs=0.3)
    now_s[0] += 6.0
    assert view.status()["fps"] == 0.0


def test_the_last_picture_is_sent_again_while_nothing_new_comes(running: Running) -> None:
    running.feed()
    first, again = itertools.islice(pictures(running), 2)
    assert (first == again).all()


def test_the_stream_shows_the_newest_frame(running: Running) -> None:
    running.feed()
    seen = pictures(running)
    first = next(seen)
    assert first.shape == (256, 320, 3)
    running.feed(5, cracked=False)
    for _ in range(20):
        if np.abs(next(seen).astype(int) - first).mean() > 20:
            break
    else:
        pytest.fail("the picture did not change")


def test_the_score_map(running: Running) -> None:
    running.feed()
    assert np.abs(next(pictures(running, "?view=scores")).astype(int) - next(pictures(running))).mean() > 5
    assert running.ask("/stream.mjpg?view=other")[0] == 400


def test_wide_frames_are_streamed_smaller(running: Running) -> None:
    running.feed(1, size_hw=(720, 2560))
    assert next(pictures(running)).shape == (360, 1280, 3)


def test_the_threshold(running: Running) -> None:
    assert [running.post(value) for value in (0.7, 0, 1)] == [200] * 3
    assert running.chosen == [0.7, 0, 1]
    for value in (1.5, -0.1, "0.5", None, True):
        assert running.post(value) == 400
    body = b'{"threshold": 0.5}'
    assert running.ask("/threshold", method="POST", body=body, Content_Type="text/plain")[0] == 400
    for body in (b"[]", b"[" * 1020, b"{"):
        assert running.ask("/threshold", method="POST", body=body, Content_Type="application/json")[0] == 400
    assert running.ask("/threshold")[0] == 405
    assert len(running.chosen) == 3


def test_health(running: Running, guarded: Running) -> None:
    running.feed()
    assert running.ask("/healthz")[0] == 200
    assert guarded.ask(f"/healthz?token={TOKEN}")[0] == 503


@pytest.mark.parametrize(
    "path", ["/", "/status.json", "/stream.mjpg", "/snapshot.jpg", "/metrics", "/healthz", "/cracks/1.jpg", "/x"]
)
def test_everything_wants_the_token(guarded: Running, path: str) -> None:
    guarded.feed()
    assert guarded.ask(path)[0] == 401
    assert guarded.ask(f"{path}?token=wrong")[0] == 401
    assert guarded.ask(path, Authorization="Bearer wrong")[0] == 401


def test_ways_to_bring_the_token(guarded: Running) -> None:
    guarded.feed()
    assert guarded.ask("/threshold", method="POST", body=b"{}", Content_Type="application/json")[0] == 401
    status, _, headers = guarded.ask(f"/?token={TOKEN}")
    assert status == 200
    assert "HttpOnly" in headers["Set-Cookie"]
    cookie = headers["Set-Cookie"].split(";")[0]
    assert guarded.ask("/status.json", Cookie=cookie)[0] == 200
    assert guarded.ask("/status.json", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_a_token_may_have_every_sign(tiny_model: Path) -> None:
    token = "".join(map(chr, range(0x21, 0x7F)))
    assert parse_address("0.0.0.0:8000", token=token).port == 8000
    made = Running(tiny_model, token=token)
    with made.server:
        status, _, headers = made.ask(f"/?token={urllib.parse.quote(token, safe='')}")
        assert status == 200
        cookie = headers["Set-Cookie"].split(";")[0]
        assert made.ask("/status.json", Cookie=cookie)[0] == 200
        assert made.ask("/status.json", Cookie=f"{cookie}0")[0] == 401
        assert made.ask("/status.json", Authorization=f"Bearer {token}")[0] == 200


def test_a_page_from_elsewhere_cannot_look_in(running: Running) -> None:
    assert running.ask("/status.json", Host="attacker.example")[0] == 403
    assert running.ask("/status.json", Host=f"localhost:{running.port}")[0] == 200


@pytest.mark.parametrize(
    "path", ["/../live_server.py", "/%2e%2e/%2e%2e/etc/passwd", "/cracks/..%2f..%2fx.jpg", "//etc/passwd"]
)
def test_no_file_can_be_asked_for(running: Running, path: str) -> None:
    assert running.ask(path)[0] == 404


def talk(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(data)
        with closing(client.makefile("rb")) as answer, contextlib.suppress(ConnectionError):
            return answer.readline()
    return b""


def test_requests_are_bounded(running: Running) -> None:
    long = b"GET /status.json HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 20_000
    assert talk(running.port, long)[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 431")
    post = b"POST /threshold HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n"
    assert b" 400 " in talk(running.port, post)
    assert talk(running.port, b"\x00\xff not http\r\n\r\n")[:12] in (b"", b"HTTP/1.1 400")
    assert running.ask("/status.json")[0] == 200


def test_a_client_that_takes_nothing_is_dropped_and_disturbs_nobody(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crackedge.edge_runtime.live_view.server._SLOW_S", 0.3)
    running.feed()
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect(("127.0.0.1", running.port))
        lazy.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        noise = np.random.default_rng(1).integers(0, 255, (720, 1280, 3), np.uint8)
        until_s = time.monotonic() + 20
        while running.server._shared.streams != 1 and time.monotonic() < until_s:
            time.sleep(0.01)
        result = running.scanner(noise)
        while running.server._shared.streams and time.monotonic() < until_s:
            running.view.write(Frame(noise.copy(), 1, 0.0), result)
            time.sleep(0.02)
        assert running.server._shared.streams == 0
    assert next(pictures(running)).shape == (720, 1280, 3)


def test_connections_that_say_nothing_are_bounded(running: Running) -> None:
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=20)) for _ in range(80)
        ]
        until_s, hung_up = time.monotonic() + 5, 0
        while hung_up < 16 and time.monotonic() < until_s:
            hung_up = len(select.select(silent, [], [], 0.1)[0])
        assert hung_up == 16
        silent[0].sendall(b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert silent[0].recv(12) == b"HTTP/1.1 200"


def test_too_many_clients(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crackedge.edge_runtime.live_view.server._MOST_STREAMS", 2)
    running.feed()
    first, second = pictures(running), pictures(running)
    next(first), next(second)
    assert running.ask("/stream.mjpg")[0] == 503
    first.close()
    second.close()


def test_ten_clients_share_one_encoding(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = LiveView.jpeg.__globals__["_encoded"]

    def counting(image: Any, use: str) -> bytes:
        encoded.append(1)
        return encode(image, use)  # type: ignore[no-any-return]

    monkeypatch.setattr("crackedge.edge_runtime.live_view.memory._encoded", counting)
    streams = [pictures(running) for _ in range(10)]
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        for _ in range(4):
            running.feed()
            list(pool.map(next, streams))
    for stream in streams:
        stream.close()
    assert len(encoded) <= 4


def test_odd_requests_are_no_lines_on_stderr(guarded: Running, caplog: pytest.LogCaptureFixture) -> None:
    assert guarded.ask(f"/stream.mjpg?token={TOKEN}&view=%ff")[0] == 400
    assert TOKEN not in caplog.text


def test_the_server_is_gone_afterwards(tiny_model: Path) -> None:
    before = threading.active_count()
    made = Running(tiny_model)
    with made.server:
        made.feed()
        stream = pictures(made)
        next(stream)
    with pytest.raises(OSError):  # noqa: PT011 - refused, whatever the system calls it
        made.ask("/status.json")
    stream.close()
    assert threading.active_count() <= before + 1  # the encoder may still be on its way out


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Tornado leaves its socket lying
def test_a_port_that_is_taken(tiny_model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OutputError, match="give another --serve"):
        LiveServer(
            LiveView(model="tiny", threshold=lambda: 0.5),
            ServeAddress("127.0.0.1", taken.getsockname()[1]),
            set_threshold=print,
        )


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("8000", "127.0.0.1", 8000),
        ("localhost:0", "localhost", 0),
        ("[::1]:80", "::1", 80),
        ("127.0.0.9:1", "127.0.0.9", 1),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert parse_address(text, token=None) == ServeAddress(host, port)


@pytest.mark.parametrize(
    ("text", "token", "message"),
    [
        ("0.0.0.0:8000", None, "set a token"),
        ("robot.local:8000", None, "set a token"),
        ("[::]:8000", None, "set a token"),
        ("0.0.0.0:8000", "short", "at least 8"),
        ("8000", "correct horse", "letters, digits and signs alone"),
        ("8000", "korrektes-Füllen", "letters, digits and signs alone"),
        ("8000", "correct-horse\n", "letters, digits and signs alone"),
        ("x", None, "expected PORT or HOST:PORT"),
        ("70000", None, "expected PORT"),
        ("", None, "expected PORT"),
    ],
)
def test_addresses_that_are_refused(text: str, token: str | None, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_address(text, token=token)
    if text == "0.0.0.0:8000":
        assert parse_address(text, token=TOKEN) == ServeAddress("0.0.0.0", 8000)
