"""Segments of a marked video: what interrupted runs left of it, joined without encoding anything anew."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import av
import av.error

from crackedge.edge_runtime.output_file import as_output_error, replacing
from crackedge.edge_runtime.sinks.marked_video import MP4_OPTIONS, numbered, whole_length
from crackedge.edge_runtime.sources.decoding import video_stream

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

_Kind = tuple[int, int, bytes]  # width, height, parameter sets: what pictures of one file must share


def set_aside(marked: Path) -> list[Path]:
    """Rename what there is of a marked video to segments, in order, so that a new one can be written.

    Args:
        marked: the file of a run, ``marked.mp4``; ``marked-2.mp4`` and so on belong to it, and earlier segments.

    Returns:
        All segments, oldest first. One that was cut off in the middle is as long as it is whole.

    Raises:
        OutputError: the folder cannot be written to.
    """
    with as_output_error(marked):
        _put_in_place(marked)
        found = _segments(marked)
        for number in itertools.count(1):
            file = numbered(marked, number)
            if not file.exists():
                break
            length = whole_length(file)
            if length < file.stat().st_size:
                with file.open("r+b") as handle:
                    handle.truncate(length)
            found.append(file.rename(_segment(marked, len(found) + 1)))
    return found


def picture_count(segments: Sequence[Path]) -> int:
    """How many pictures there are in all of them."""
    return sum(1 for _ in _packets(segments))


def join(marked: Path, segments: Sequence[Path], *, most: int | None = None) -> None:
    """Make one video of segments; more than one where the pictures change size or the encoder its settings.

    A process that is killed in here loses nothing: the segments are there until all is written.

    Args:
        marked: where to: this file, and ``marked-2.mp4`` and so on.
        segments: all that :func:`set_aside` gave; removed.
        most: how many pictures at most; what comes after is dropped.

    Raises:
        OutputError: it cannot be written; the segments are still there.
    """
    if most == 0:
        with as_output_error(marked):
            for segment in segments:
                segment.unlink()
        return
    joined = _joined(marked)
    kinds = itertools.groupby(itertools.islice(_packets(segments), most), key=lambda one: one[0])
    with ExitStack() as stack:
        for number, (_, packets) in enumerate(kinds, 1):
            file = numbered(joined, number)
            part = stack.enter_context(replacing(file))
            with (
                as_output_error(file, av.error.FFmpegError),
                av.open(str(part), "w", format="mp4", container_options=MP4_OPTIONS) as output,
            ):
                _copy(packets, output)
    # The first file was renamed last: where it is, all are.
    with as_output_error(marked):
        _put_in_place(marked)


def finish(marked: Path) -> None:
    """Join the segments of earlier, interrupted runs and what the last one wrote, where there are any.

    Raises:
        OutputError: it cannot be written; the segments are still there.
    """
    if _segments(marked) or _joined(marked).exists():
        join(marked, set_aside(marked))


def _copy(packets: Iterator[tuple[_Kind, Packet[VideoStream]]], output: OutputContainer) -> None:
    stream: VideoStream | None = None
    for _, packet in packets:
        if stream is None:
            stream = output.add_stream_from_template(packet.stream)
            stream.time_base = packet.time_base
        packet.stream = stream
        output.mux(packet)


def _packets(segments: Sequence[Path]) -> Iterator[tuple[_Kind, Packet[VideoStream]]]:
    """Encoded pictures in order, each with what it must share with the others of its file.

    A file without one, or that cannot be read, gives none: what was in it is scanned again.
    """
    for segment in segments:
        # Killed before the first picture was in it, it is no video yet.
        with contextlib.suppress(av.error.InvalidDataError), av.open(str(segment)) as container:
            stream = video_stream(container)
            if stream is None:
                continue
            kind = stream.width, stream.height, bytes(stream.codec_context.extradata or b"")
            for packet in container.demux(stream):
                if packet.size:
                    yield kind, packet


def _put_in_place(marked: Path) -> None:
    """What a join made takes the place of the segments."""
    joined = _joined(marked)
    if joined.exists():
        for segment in reversed(_segments(marked)):  # what a kill leaves of them is still found from the first on
            segment.unlink()
        files = itertools.takewhile(Path.exists, (numbered(joined, number) for number in itertools.count(1)))
        for number, file in reversed(list(enumerate(files, 1))):
            file.rename(numbered(marked, number))


def _joined(marked: Path) -> Path:
    return marked.with_name(f"{marked.stem}.joined{marked.suffix}")


def _segments(marked: Path) -> list[Path]:
    numbers = (_segment(marked, number) for number in itertools.count(1))
    return list(itertools.takewhile(Path.exists, numbers))


def _segment(marked: Path, number: int) -> Path:
    return marked.with_name(f"{marked.stem}.segment-{number}{marked.suffix}")
