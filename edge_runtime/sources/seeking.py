"""Seeking: into the middle of a video file, to a frame whose number in the file is known."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

_NO_TIMESTAMPS = 0x80  # FFmpeg's AVFMT_NOTIMESTAMPS
_BACK_S = 2.0  # how much further back to look, and then twice that, where a key frame is shown too late


def packets_from(
    container: InputContainer, stream: VideoStream, pts: int
) -> tuple[int, Iterator[Packet[VideoStream]]] | None:
    """The packets from the last key frame on that is shown at or before a time stamp, and the number of its frame.

    Pictures that follow that key frame and are shown before it are left out: they need what was not read.

    Args:
        container: what to read; its position is moved and its decoders emptied.
        stream: the video.
        pts: in ticks of the stream.

    Returns:
        None where there is no such key frame, or no time stamps to find it by: read the file from its beginning.

    Raises:
        FFmpegError: the file cannot be sought in, or is damaged there.
    """
    if stream.time_base is None or container.format.flags & _NO_TIMESTAMPS:
        return None
    goal, back = pts, round(_BACK_S / stream.time_base)
    while goal > (stream.start_time or 0):
        key = _key_packet(container, stream, goal)
        if key is not None and key.pts is not None and key.dts is not None and key.pts <= pts:
            before = _frames_before(container, stream, key.dts)
            container.seek(goal, stream=stream)
            packets = itertools.dropwhile(lambda packet: not packet.is_keyframe, container.demux(stream))
            leading, rest = _apart(packets, key.pts)
            return before + leading, rest
        goal, back = goal - back, 2 * back
    return None


def _key_packet(container: InputContainer, stream: VideoStream, goal: int) -> Packet[VideoStream] | None:
    container.seek(goal, stream=stream)
    return next((packet for packet in container.demux(stream) if packet.is_keyframe), None)


def _frames_before(container: InputContainer, stream: VideoStream, dts: int) -> int:
    """How many frames are stored before a packet."""
    entries = getattr(stream, "index_entries", ())  # since PyAV 15
    if 0 < stream.frames == len(entries):
        return sum(entry.timestamp < dts and not entry.is_discard for entry in entries)
    container.seek(stream.start_time or 0, stream=stream)  # no table of all frames: read on to there
    earlier = itertools.takewhile(lambda packet: packet.dts is None or packet.dts < dts, container.demux(stream))
    return sum(packet.size > 0 and not packet.is_discard for packet in earlier)


def _apart(packets: Iterator[Packet[VideoStream]], key_pts: int) -> tuple[int, Iterator[Packet[VideoStream]]]:
    """How many packets are shown before the key frame that they begin with, and the packets without these."""
    begin = [next(packets)]
    leading = 0
    for packet in packets:
        if packet.pts is None or packet.pts >= key_pts:
            begin.append(packet)
            break
        leading += 1
    return leading, itertools.chain(begin, packets)
