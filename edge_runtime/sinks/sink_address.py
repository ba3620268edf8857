"""Sinks by address: ``--sink KIND:WHERE``, one grammar for files, folders, the network and commands."""

from __future__ import annotations

import itertools
import re
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from crackedge.edge_runtime.errors import OptionError, OutputError
from crackedge.edge_runtime.notices import Notices
from crackedge.edge_runtime.sinks.background import BackgroundSink
from crackedge.edge_runtime.sinks.jsonl import STDOUT, JsonlSink
from crackedge.edge_runtime.sinks.network_sinks import Link, NetworkSink, TcpLink, UdpLink
from crackedge.edge_runtime.sinks.rotation import KeptFiles, PartSink, RotatingSink
from crackedge.edge_runtime.sinks.sink import Recorded, RecordSink, Sink
from crackedge.edge_runtime.sources.source import Source
from crackedge.edge_runtime.stop import StopFlag

_FILES = ("jsonl", "csv", "video")
_FOLDERS = ("images", "crops")
_NETWORK = {"udp": None, "tcp": None, "mqtt": 1883, "mqtts": 8883}  # the usual port
_EXPECTED = (
    "jsonl:PATH, jsonl:- (stdout), csv:PATH, video:PATH, images:FOLDER, crops:FOLDER, window:, udp://HOST:PORT, "
    "tcp://HOST:PORT, mqtt://[USER:PASSWORD@]HOST[:PORT]/TOPIC or exec:COMMAND"
)
_RECORDS = 256  # that may wait for a slow reader: some seconds


@dataclass(frozen=True, slots=True)
class SinkAddress:
    """Where results are to go.

    Attributes:
        kind: what is before the colon.
        where: what is behind it; the whole address for the network.
    """

    kind: str
    where: str

    @property
    def to_stdout(self) -> bool:
        """Whether stdout is taken, so that nothing else may be printed there."""
        return self.kind == "jsonl" and self.where == "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkContext:
    """What the sinks of one source share.

    Attributes:
        source: where the frames come from. Sinks of a live one drop frames instead of holding up the run.
        stop: when to be quick about the end.
        notices: what sinks have to tell; to be passed on between two frames.
        kept: rotation of files, and how much is kept.
        part: name of the source among several; it becomes a part of files' and folders' names.
        scores: whether records carry the scores of all windows.
        preset: of x264.
        crf: quality of x264.
        begin_s: position in the source, seconds, at which marked videos begin.
    """

    source: Source
    stop: StopFlag
    notices: Notices
    kept: KeptFiles
    part: str | None = None
    scores: bool = False
    preset: str = "ultrafast"
    crf: int = 23
    begin_s: float = 0.0


def parse_sinks(texts: Sequence[str]) -> list[SinkAddress]:
    """Look at addresses before anything is opened.

    Raises:
        OptionError: one cannot be understood, is there twice, or is a window where there can be none.
        MissingExtraError: one needs packages that are not installed.
    """
    addresses = [_parse(text) for text in texts]
    for number, address in enumerate(addresses):
        if address in addresses[:number]:
            raise OptionError(f"--sink {address.kind}: given twice with the same address; give it once")
    return addresses


def open_sink(address: SinkAddress, context: SinkContext) -> Sink:
    """Open a sink. It is still to be entered. Files that are there are never replaced.

    Lines are added to JSON lines and CSV that are there; videos and pictures take a free name.

    Raises:
        OutputError: it cannot be written to.
    """
    if address.kind == "window":
        from crackedge.edge_runtime.sinks.window import WindowSink

        return WindowSink(f"crackedge {context.source.name}", on_quit=context.stop.ask)
    if address.kind in _NETWORK:
        return _records(_network_sink(address, context), context)
    if address.kind == "exec":
        from crackedge.edge_runtime.sinks.command_sink import CommandSink

        command = CommandSink(address.where, notices=context.notices, stop=context.stop)
        return _records(command, context, depth=1)
    if address.kind in _FOLDERS:
        return in_background(_picture_sink(address, context), context)
    return _records(JsonlSink(STDOUT), context) if address.to_stdout else _file_sink(address, context)


def results_sink(path: Path, context: SinkContext, *, append: bool = False, resumed: bool = False) -> Sink:
    """JSON lines, in parts where that is wanted; see :class:`.jsonl.JsonlSink`."""
    return _records(_in_parts(path, lambda file: JsonlSink(file, append=append, resumed=resumed), context), context)


def video_sink(path: Path, context: SinkContext) -> Sink:
    """A marked video, in parts where that is wanted; see :class:`.marked_video.VideoSink`."""
    from crackedge.edge_runtime.sinks.marked_video import VideoSink

    def open_video(file: Path) -> VideoSink:
        return VideoSink(file, fps=context.source.fps, preset=context.preset, crf=context.crf, begin_s=context.begin_s)

    return in_background(_in_parts(path, open_video, context), context)


def in_background(sink: RecordSink, context: SinkContext, **options: int) -> BackgroundSink:
    """A sink that holds up neither a live source nor the end; see :class:`.background.BackgroundSink`."""
    return BackgroundSink(sink, live=context.source.live, stop=context.stop, **options)


def _records(sink: RecordSink, context: SinkContext, *, depth: int = _RECORDS) -> Sink:
    return Recorded(in_background(sink, context, depth=depth), scores=context.scores)


def _in_parts(path: Path, open_part: Callable[[Path], PartSink], context: SinkContext) -> RecordSink:
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: no such folder; make it, or give another place than {path}")
    if not context.kept.options.wanted or (path.exists() and not path.is_file()):
        return open_part(path)
    return RotatingSink(path, open_part, context.kept)


def _parse(text: str) -> SinkAddress:
    kind, _, where = text.partition(":")
    shown = re.sub(r"//.*@", "//", text)  # without user and password
    if kind == "exec":
        shown = "exec:"
    if kind in _NETWORK:
        _check_url(text, shown)
        return SinkAddress(kind, text)
    if kind == "window" and not where:
        from crackedge.edge_runtime.sinks.window import has_window

        if not has_window():
            raise OptionError(
                "--sink window: no window can be opened here; it takes a display, and opencv-python in place of "
                "opencv-python-headless"
            )
    elif kind not in (*_FILES, *_FOLDERS, "exec") or not where.strip():
        raise OptionError(f"--sink {shown}: expected {_EXPECTED}")
    return SinkAddress(kind, where)


def _check_url(text: str, shown: str) -> None:
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port or _NETWORK[parts.scheme]
    except ValueError:
        parts, port = urllib.parse.urlsplit("//"), None
    mqtt = parts.scheme.startswith("mqtt")
    topic = urllib.parse.unquote(parts.path.strip("/"))
    odd = re.search(r"[?#]", text) or re.search(r"[+#@]", topic)  # wildcards, or a password that is not quoted
    if mqtt != bool(topic) or odd or not parts.hostname or port is None:
        raise OptionError(f"--sink {shown}: expected {_EXPECTED}")
    if mqtt:
        from crackedge.edge_runtime.sinks.mqtt import require_mqtt

        require_mqtt()


def _file_sink(address: SinkAddress, context: SinkContext) -> Sink:
    path = Path(address.where)
    if context.part is not None:
        path = path.with_stem(f"{path.stem}-{context.part}")
    if address.kind == "video":
        return video_sink(path if context.kept.options.wanted else _free(path), context)
    if address.kind == "csv":
        from crackedge.edge_runtime.sinks.csv_sink import CsvSink

        return _records(_in_parts(path, CsvSink, context), context)
    return results_sink(path, context, append=True)


def _picture_sink(address: SinkAddress, context: SinkContext) -> Sink:
    from crackedge.edge_runtime.sinks.pictures import CropSink, ImageSink

    folder = Path(address.where, context.part or "")
    if address.kind == "crops":
        return CropSink(folder, written=context.kept.add)
    return ImageSink(folder, cracked_only=True, replace=False, written=context.kept.add)


def _network_sink(address: SinkAddress, context: SinkContext) -> NetworkSink:
    parts = urllib.parse.urlsplit(address.where)
    host, port = parts.hostname or "", parts.port or _NETWORK[address.kind] or 0
    name = f"{address.kind}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    link: Link
    if address.kind == "udp":
        link = UdpLink(host, port)
    elif address.kind == "tcp":
        link = TcpLink(host, port)
    else:
        from crackedge.edge_runtime.sinks.mqtt import MqttLink

        user, password = (
            None if text is None else urllib.parse.unquote(text) for text in (parts.username, parts.password)
        )
        topic = urllib.parse.unquote(parts.path.strip("/"))
        link = MqttLink(host, port, topic, user=user, password=password, tls=address.kind == "mqtts")
    return NetworkSink(name, link, live=context.source.live, notices=context.notices, stop=context.stop)


def _free(path: Path) -> Path:
    """The path, or one with a number (:func:`.marked_video.numbered`), that a video can take with its next part."""
    from crackedge.edge_runtime.sinks.marked_video import numbered

    paths = (numbered(path, number) for number in itertools.count(1))
    return next(free for free in paths if not free.exists() and not numbered(free, 2).exists())
