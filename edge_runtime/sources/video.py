"""Video files as a source: every frame with its own time stamp, upright, up to where the file is whole."""

from __future__ import annotations

import contextlib
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
from crackedge.edge_runtime.sources.decoding import UprightRgb, decode, reason_of, video_stream
from crackedge.edge_runtime.sources.pipe import PipeReader, ffmpeg_input
from crackedge.edge_runtime.sources.seeking import packets_from
from crackedge.edge_runtime.sources.source import Gap, Skipped, SourceOptions, never

if TYPE_CHECKING:
    from typing import Self

    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_GUESSED_FPS = 25.0  # of files without time stamps, where FFmpeg guesses the same
_MOST_REORDERED = 16  # pictures that a decoder holds back, and so gives after damaged data that came later
_SHORT_S = 1.0  # a file that ends by this much before its declared end is reported
_BUFFER = 1 << 18  # bytes; raw frames are large
_GRACE_S = 1.0  # after which a call over the network ends that nobody waits for any more

T = TypeVar("T")


class VideoFile:
    """A video file, one behind a URL, or what comes through a pipe, as a source of every frame, or of those selected.

    Frames keep their number and time stamp in the file, whatever the nominal rate. Damaged data and an early end are
    gaps; the frames around them are given.

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
        self._address, self._options, self._stop = address, options, stop
        self._selection = options.selection()
        self._pipe: PipeReader | None = None
        self._calls: BoundedCalls | None = None
        self._container, self._stream = self._open()
        self._unread = True
        self._last_s = 0.0
        self._to_rgb = UprightRgb()
        rate = self._stream.average_rate or self._stream.guessed_rate
        self._file_fps = float(rate) if rate else None
        self._step_s = 1 / (self._file_fps or _GUESSED_FPS)
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
            return av.open(
                self._pipe or url,
                mode="r",
                format=form,
                options=settings,
                metadata_errors="replace",
                buffer_size=_BUFFER,
            )

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
        duration_s = self._container.duration / av.time_base if self._container.duration else 0.0
        return round(duration_s * self._file_fps) if duration_s > 0 and self._file_fps else None

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
            yield Frame(self._to_rgb(picture), index, time_s)
        if not given and not self._stop():
            raise self._selection.nothing(self.uri, duration_s=self._last_s + self._step_s)

    def _timed_pictures(self) -> Iterator[tuple[int, float, VideoFrame]]:
        """Number, position and picture of every frame from the key frame before the first selected one on."""
        tick_s = self._stream.time_base or Fraction(1, 90000)
        start = round(Fraction(self._container.start_time or 0, av.time_base) / tick_s)  # as players count
        step_s = self._step_s
        first, packets = self._packets(start + round(Fraction(self._selection.start_s) / tick_s))
        index, self._last_s = first, -step_s
        lost, lost_at = "", 0
        for picture in self._pictures(packets):
            if isinstance(picture, str):
                lost, lost_at = picture, index
                continue
            before_s = max(self._last_s, 0.0)
            self._last_s = float((picture.pts - start) * tick_s) if picture.pts is not None else self._last_s + step_s
            missing = (index > first or first == 0) and self._last_s - before_s > 1.5 * step_s
            if lost and (missing or index - lost_at > _MOST_REORDERED):
                self._lose(Gap(lost, index, before_s, self._last_s - before_s if missing else None))
                lost = ""
            yield index, self._last_s, picture
            index += 1
        if self._stop():
            return  # what did not come then is no loss
        if index == first:
            raise SourceError(f"{self.uri}: not one frame in it ({lost or 'it is empty'}); record or copy it again")
        missing_s = self._declared_s() - (self._last_s + step_s)
        if missing_s > _SHORT_S:
            self._lose(Gap(lost or "the file ends before its declared end", index, self._last_s, missing_s))
        elif lost:
            self._lose(Gap(lost, index, self._last_s))

    def _lose(self, gap: Gap) -> None:
        if gap not in self.gaps:  # it is there when the file is read again
            self.gaps.append(gap)

    def _declared_s(self) -> float:
        if self._stream.duration is None or self._stream.time_base is None:
            return 0.0
        return float(self._stream.duration * self._stream.time_base)

    def _open_again(self) -> None:
        self._close()
        self._container, self._stream = self._open()

    def _packets(self, start_pts: int) -> tuple[int, Iterator[Packet[VideoStream]]]:
        """Number of the first frame that is read, and the packets from it on."""
        if self._selection.start_s > 0 and self._pipe is None:
            with contextlib.suppress(av.error.FFmpegError, TimeoutError):
                limit_s = self._options.open_s + self._options.read_s
                found = self._in_time(lambda: packets_from(self._container, self._stream, start_pts), limit_s)
                if found is not None:
                    return found
            self._open_again()
        return 0, self._container.demux(self._stream)

    def _pictures(self, packets: Iterator[Packet[VideoStream]]) -> Iterator[VideoFrame | str]:
        """Decoded pictures, and in words what was lost between them."""
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
            try:
                yield from decode(self._stream, packet)
            except av.error.FFmpegError:
                yield "damaged data"
            if packet is None:
                if self._pipe is not None and self._pipe.late:
                    yield self._pipe.late
                return
