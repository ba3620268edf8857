"""Splices: where recordings stand one after the other in a file, and its time stamps begin anew."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

_NO_TIMESTAMPS, _DISCONTINUOUS = 0x80, 0x200  # FFmpeg's AVFMT_NOTIMESTAMPS, AVFMT_TS_DISCONT
_SLACK_S = 1.0  # by which stamps may run back for other reasons, such as pictures stored in another order
_STRAY_S = 10.0  # a stamp that is so far from the one before it counts once the next one agrees
_MOST_HELD = 64 << 20  # bytes of packets while a key frame is looked for
_LONG_AGO = -(1 << 63)  # no stamp is smaller


class Splices:
    """Time stamps that go on where those of a file begin anew.

    A recording begins with a key frame; it follows the last picture before it by that one's duration. Packets that run
    back and lead to no key frame lose their stamps, which may be damaged.

    Args:
        tick_s: of the stamps, seconds.
        step_s: duration of a picture that does not say it.

    Attributes:
        begun: stamps, as they go on, of the pictures that recordings after the first begin with.
    """

    def __init__(self, tick_s: Fraction, step_s: float) -> None:
        self.begun: list[int] = []
        self._step = round(Fraction(step_s) / tick_s)
        self._slack, self._stray = round(_SLACK_S / tick_s), round(_STRAY_S / tick_s)
        self._before: int | None = None  # stamp of the packet before, as it is in the file
        self._newest = _LONG_AGO  # of those stamps since the last splice
        self._ahead = 0  # what is added to them
        self._end = _LONG_AGO  # of the last picture, as stamps go on

    def straightened(self, packets: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
        """The packets, with stamps that go on."""
        for packet in packets:
            self._straighten(packet)
            yield packet

    def _straighten(self, packet: Packet[VideoStream]) -> None:
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is None:
            return
        agrees = self._before is None or abs(stamp - self._before) <= self._stray
        self._before = stamp
        if stamp < self._newest - self._slack:
            if not packet.is_keyframe:
                packet.pts = packet.dts = None
                self._end += self._step
                return
            self._ahead = self._end - (stamp if packet.pts is None else packet.pts)
            self._newest = stamp
            self.begun.append(self._end)
        elif agrees:
            self._newest = max(self._newest, stamp)
        if packet.dts is not None:
            packet.dts += self._ahead
        if packet.pts is not None:
            packet.pts += self._ahead
            if agrees or self._newest == stamp:
                self._end = max(self._end, packet.pts + (packet.duration or self._step))


def may_have_splices(container: InputContainer) -> bool:
    """Whether files of this kind can be joined one after the other, so that nothing can be found by its stamp."""
    return bool(container.format.flags & _DISCONTINUOUS) and not container.format.flags & _NO_TIMESTAMPS


def packets_through(
    packets: Iterator[Packet[VideoStream]], pts: int
) -> tuple[int, Iterator[Packet[VideoStream]]] | None:
    """As :func:`.seeking.packets_from`, but found by reading on from the beginning, without decoding.

    Args:
        packets: all of them, with stamps that go on over splices.
        pts: in ticks of the stream.

    Returns:
        None where there is no such key frame, or too much after it: read the file from its beginning.
    """
    held: list[Packet[VideoStream]] = []
    number = first = held_bytes = key_pts = 0
    for packet in packets:
        if packet.pts is not None and packet.pts > pts:
            return (first, _chained(held, packet, packets)) if held else None
        if packet.is_keyframe and packet.pts is not None:
            held, first, held_bytes, key_pts = [packet], number, packet.size, packet.pts
        elif len(held) == 1 and packet.pts is not None and packet.pts < key_pts:
            first += 1  # shown before the key frame; it needs what is not decoded
        elif held:
            held.append(packet)
            held_bytes += packet.size
        number += packet.size > 0 and not packet.is_discard
        if held_bytes > _MOST_HELD:
            return None
    return (first, iter(held)) if held else None


def _chained(
    held: list[Packet[VideoStream]], packet: Packet[VideoStream], packets: Iterator[Packet[VideoStream]]
) -> Iterator[Packet[VideoStream]]:
    yield from held
    yield packet
    yield from packets
