"""Video files as a source: every frame with its own time stamp, upright, up to where the file is whole."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import av
import av.error

from crackedge.edge_runtime.errors import SourceError
from crackedge.edge_runtime.frame import Frame
from crackedge.edge_runtime.sources.addresses import Address, Kind
from crackedge.edge_runtime.sources.bounded_calls import BoundedCalls
from crackedge.edge_runtime.sources.decoding import (
    UprightRgb,
    decode,
    open_input,
    pixel_aspect,
    reason_of,
    video_stream,
)
from crackedge.edge_runtime.sources.fragments import has_fragment_after
from crackedge.edge_runtime.sources.losses import DAMAGE, Losses
from crackedge.edge_runtime.sources.pipe import PipeReader, ffmpeg_input
from crackedge.edge_runtime.sources.seeking import packets_from
from crackedge.edge_runtime.sources.source import Gap, Skipped, SourceOptions, never
from crackedge.edge_runtime.sources.splices import Splices, may_have_splices, packets_through

if TYPE_CHECKING:
    from typing import Self

    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_GUESSED_FPS = 25.0  # of files without time stamps, where FFmpeg guesses the same
_MOST_BETWEEN = 4096  # bytes that a Matroska file has between the pictures of a video that is alone in it
_BUFFER = 1 << 18  # bytes; raw frames are large
_GRACE_S = 1.0  # after which a call over the network ends that nobody waits for any more

T = TypeVar("T")


class VideoFile:
    """A video file, one behind a URL, or what comes through a pipe, as a source of every frame, or of those selected.

    Frames keep their number and time stamp in the file, whatever the nominal rate. Damaged data and an early end are
    gaps; the frames around them are given. Where time stamps begin anew, positions go on, and that is a gap, too.

    Raises:
        SourceError: the file is missing or no video; while iterating: not one frame could be decoded, or none is
            selected.
    """

    live = False

    def __init__(self, address: Address, options: SourceOptions, *, stop: Callable[[], bool] = never) -> None:
        self.uri = address.uri
        self.name = address.name
        self.kind: Kind = address.kind
        self.skipped: list[Skipped] = []
        self.gaps: list[Gap] = []
        self.remarks: list[str] = []
        self._address, self._options, self._stop = address, options, stop
        self._selection = options.selection()
        self._pipe: PipeReader | None = None
        self._calls: BoundedCalls | None = None
        self._container, self._stream = self._open()
        self._unread = True
        self._last_s = 0.0
        self._read_to = 0  # of the file, bytes
        self._to_rgb = UprightRgb()
        rate = self._stream.average_rate or self._stream.guessed_rate
        self._file_fps = float(rate) if rate else None
        self._step_s = 1 / (self._file_fps or _GUESSED_FPS)
        self._tick_s = self._stream.time_base or Fraction(1, 90000)
        self._splices = Splices(self._tick_s, self._step_s)
        self.fps = self._selection.rate(self._file_fps)
        self.width: int | None = None  # the display matrix, which may swap them, comes with the first frame
        self.height: int | None = None
        self.frame_count = self._selection.count(self._estimated_frames(), fps=self._file_fps)

    def _open(self) -> tuple[InputContainer, VideoStream]:
        address, options = self._address, self._options
        url, form, settings = ffmpeg_input(address.text, options.raw, fps=options.fps)
        if address.is_pipe:
            self._pipe = PipeReader(address.text, first_s=options.open_s, read_s=options.read_s, stop=self._stop)
        elif not address.paths:
            self._calls = BoundedCalls(name=f"reader of {self.name}", stop=self._stop)
            settings |= {"rw_timeout": str(round((max(options.open_s, options.read_s) + _GRACE_S) * 1e6))}

        def open_container() -> InputContainer:
            return open_input(self._pipe or url, form=form, settings=settings, buffer_size=_BUFFER)

        try:
            container = self._in_time(open_container, options.open_s)
        except (av.error.FFmpegError, TimeoutError) as error:
            reason = reason_of(error) if isinstance(error, av.error.FFmpegError) else "no answer in time"
            if self._pipe is not None:
                reason = self._pipe.late or reason
            self._let_go()
            raise SourceError(
                f"{self.uri}: cannot be opened ({reason}); check that it plays, and copy or convert it again"
            ) from error
        stream = video_stream(container)
        if stream is None:
            container.close()
            self._let_go()
            raise SourceError(f"{self.uri}: no video in it; expected a file with a video stream")
        # Threads by frame lose good pictures at damaged data and hide where it was; decoding is not what is slow here.
        stream.thread_type = "SLICE"
        return container, stream

    def _in_time(self, call: Callable[[], T], limit_s: float) -> T:
        """What a call gives; one over the network has only so many seconds, and ends when somebody asks to stop.

        Raises:
            TimeoutError: it did not come back; what it works with must be left alone.
        """
        return call() if self._calls is None else self._calls(call, limit_s=limit_s)

    def _let_go(self) -> None:
        """End what was begun for a container that nobody will read."""
        if self._pipe is not None:
            self._pipe.close()
        if self._calls is not None:
            self._calls.close()

    def _close(self) -> None:
        if self._calls is not None:
            self._calls.close()
        if self._calls is None or not self._calls.left:
            self._container.close()

    def _estimated_frames(self) -> int | None:
        if self._stream.frames > 0:
            return int(self._stream.frames)
        length_s = self._declared_s() or self._container_s()
        return round(length_s * self._file_fps) if length_s > 0 and self._file_fps else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        if self._pipe is not None:
            self._pipe.close()

    def __iter__(self) -> Iterator[Frame]:
        """Every frame that can be decoded and is selected.

        Raises:
            SourceError: there is not one.
        """
        if not self._unread:
            self._open_again()
        self._unread = False
        given = False
        for index, time_s, picture in self._selection.of(self._timed_pictures()):
            given = True
            image, aspect = self._to_rgb(picture), pixel_aspect(self._stream)
            yield Frame(image, index, time_s, pixel_aspect=1 / aspect if self._to_rgb.is_transposed else aspect)
        if not given and not self._stop():
            length_s = max(self._last_s + self._step_s, self._declared_s() or self._container_s())
            raise self._selection.nothing(self.uri, duration_s=length_s)

    def _timed_pictures(self) -> Iterator[tuple[int, float, VideoFrame]]:
        """Number, position and picture of every frame from the key frame before the first selected one on."""
        start = round(Fraction(self._container.start_time or 0, av.time_base) / self._tick_s)  # as players count
        step_s = self._step_s
        first, packets = self._packets(start + round(Fraction(self._selection.start_s) / self._tick_s))
        index, self._last_s = first, -step_s
        losses = self._losses()
        seen = is_damaged = False
        for picture in self._pictures(packets):
            if isinstance(picture, str):
                losses.add(picture, index=index, last_s=self._last_s)
                continue
            if picture is None:
                index, is_damaged = index + 1, True
                continue
            if is_damaged:  # not before another one follows: the last one may be cut off, and is no further loss
                losses.add(DAMAGE, index=index, last_s=self._last_s)
                is_damaged = False
            last_s = self._last_s
            self._last_s = float((picture.pts - start) * self._tick_s) if picture.pts is not None else last_s + step_s
            if self._begins_anew(picture) and seen:
                losses.begin_anew(index=index, last_s=last_s)
            elif seen or (first == 0 and losses.reason):
                losses.step(self._last_s - max(last_s, 0.0), index=index, last_s=last_s)
            seen = True
            yield index, self._last_s, picture
            index += 1
        if self._stop():
            return  # what did not come then is no loss
        if not seen:
            reason = losses.reason or (DAMAGE if is_damaged else "it is empty")
            raise SourceError(f"{self.uri}: not one frame in it ({reason}); record or copy it again")
        if not losses.reason and self._has_more():
            losses.add("the file cannot be read any further", index=index, last_s=self._last_s)
        losses.end(self._declared_s() - (self._last_s + step_s), index=index, last_s=self._last_s)

    def _losses(self) -> Losses:
        is_silent = self._is_matroska and not self._is_alone
        return Losses(self._lose, step_s=self._step_s, tick_s=float(self._tick_s), is_silent=is_silent)

    def _begins_anew(self, picture: VideoFrame) -> bool:
        """Whether a picture is the first after a splice."""
        begun = self._splices.begun
        if not begun or picture.pts is None or picture.pts < begun[0]:
            return False
        del begun[: sum(pts <= picture.pts for pts in begun)]
        return True

    def _lose(self, gap: Gap) -> None:
        if gap not in self.gaps:  # it is there when the file is read again
            self.gaps.append(gap)

    @property
    def _is_matroska(self) -> bool:
        return "matroska" in self._container.format.name

    @property
    def _is_alone(self) -> bool:
        """Whether there is no sound or the like between the pictures."""
        return len(self._container.streams) == 1

    def _declared_s(self) -> float:
        """How long the video is by what stands in the file; 0 where it does not say."""
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base)
        tags = (value for name, value in self._stream.metadata.items() if name.partition("-")[0] == "DURATION")
        match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d*)?)", next(tags, ""))  # Matroska's, up to the last frame's end
        if match is None:
            return 0.0
        end_s = int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
        return end_s - (self._container.start_time or 0) / av.time_base

    def _container_s(self) -> float:
        """How long the file is with its sound; 0 where nobody knows."""
        begin = (self._container.start_time or 0) if self._is_matroska else 0  # which counts from 0
        return max(0, (self._container.duration or 0) - begin) / av.time_base

    def _has_more(self) -> bool:
        """Whether there are pictures behind the last one read: FFmpeg ends at a fragment that it cannot read."""
        if "mp4" not in self._container.format.name.split(",") or not self._address.paths or not self._read_to:
            return False
        with contextlib.suppress(OSError):
            return has_fragment_after(self._address.paths[0], self._read_to, track=self._stream.id)
        return False

    def _open_again(self) -> None:
        self._close()
        self._container, self._stream = self._open()
        self._splices = Splices(self._tick_s, self._step_s)
        self._read_to = 0

    def _packets(self, start_pts: int) -> tuple[int, Iterator[Packet[VideoStream]]]:
        """Number of the first frame that is read, and the packets from it on."""
        if self._selection.start_s > 0 and self._pipe is None:
            with contextlib.suppress(av.error.FFmpegError, TimeoutError):
                limit_s = self._options.open_s + self._options.read_s
                found = self._in_time(lambda: self._packets_from(start_pts), limit_s)
                if found is not None:
                    return found
            self._open_again()
        return 0, self._all_packets()

    def _packets_from(self, start_pts: int) -> tuple[int, Iterator[Packet[VideoStream]]] | None:
        if may_have_splices(self._container):
            return packets_through(self._all_packets(), start_pts)
        return packets_from(self._container, self._stream, start_pts)

    def _all_packets(self) -> Iterator[Packet[VideoStream]]:
        return self._splices.straightened(self._container.demux(self._stream))

    def _pictures(self, packets: Iterator[Packet[VideoStream]]) -> Iterator[VideoFrame | str | None]:
        """Decoded pictures, None for each that is damaged, and in words what was lost between them."""
        was_damaged = False  # the packet before; the last one may just be cut off, which is no further loss
        while True:
            try:
                packet = self._in_time(lambda: next(packets, None), self._options.read_s)  # noqa: B023 - called here
            except TimeoutError:
                if self._stop():
                    return
                yield f"no data for {self._options.read_s:g} s"
                packets, packet = iter(()), None
            except av.error.FFmpegError as error:
                yield f"the file cannot be read any further ({reason_of(error)})"
                packets, packet = iter(()), None
            is_filled = False
            if packet is not None and packet.size:
                if self._passes_over(packet) or (was_damaged and not packet.is_corrupt):
                    yield DAMAGE
                was_damaged = packet.is_corrupt
                is_filled = packet.is_corrupt and self._stream.codec_context.codec.intra_only
            try:
                for picture in decode(self._stream, packet):
                    yield None if picture.is_corrupt or is_filled else picture
            except av.error.FFmpegError:
                yield DAMAGE
            if packet is None:
                if self._pipe is not None and self._pipe.late:
                    yield self._pipe.late
                return

    def _passes_over(self, packet: Packet[VideoStream]) -> bool:
        """Whether more stands before a packet than should: Matroska's reader skips what it cannot read."""
        if packet.pos is None:
            return False
        read_to, self._read_to = self._read_to, max(self._read_to, packet.pos + packet.size)
        return self._is_matroska and self._is_alone and 0 < read_to < packet.pos - _MOST_BETWEEN
