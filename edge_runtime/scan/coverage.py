"""Coverage: how much of a frame was looked at, how much was carried over, and what was given up to be in time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class GiveUp(IntEnum):
    """What is given up to be in time, each with all before it."""

    NOTHING = 0
    MARKING = 1  # of every frame
    BANDS = 2  # the whole frame at once
    SCALE = 3  # the scale that was asked for
    LATENCY = 4  # the promise itself, so that no cell stays unseen


@dataclass(frozen=True, slots=True)
class Coverage:
    """What stands behind the scores of one frame that was not scanned as a whole, or not as asked.

    Attributes:
        scanned: share of the cells that the network looked at in this frame.
        carried: share of the cells whose logits come from earlier frames. The rest nobody has looked at yet.
        stale_s: how long ago the network last looked at the cell that waits for longest, or that came into view since.
        network: pixels that went through the network, halos counted, as a share of a full scan's.
        loss: share of cracked cells that carrying loses, by the audits so far; None before the first.
        give_up: what is given up.
        scale: by how much the picture was reduced for the scan, beyond what was asked.
        rejected: why nothing could be carried, such as ``"cut"``, ``"blur"`` or ``"loss"``; empty where it could.
    """

    scanned: float
    carried: float
    stale_s: float
    network: float
    loss: float | None = None
    give_up: GiveUp = GiveUp.NOTHING
    scale: float = 1.0
    rejected: str = ""

    @property
    def gave_up(self) -> tuple[str, ...]:
        """What is given up, in words."""
        return tuple(one.name.lower() for one in GiveUp if GiveUp.NOTHING < one <= self.give_up)

    @property
    def complete(self) -> bool:
        """Whether every cell was scanned in this frame, as asked: there is nothing to report."""
        return self.scanned == 1.0 and self.scale == 1.0 and self.give_up == GiveUp.NOTHING


def worth_marking(coverage: Coverage | None, index: int) -> bool:
    """Whether a sink that marks and encodes should take the frame of this number.

    Every second where marking is given up, every fourth where bands are too.
    """
    if coverage is None or coverage.give_up == GiveUp.NOTHING:
        return True
    return index % (2 if coverage.give_up == GiveUp.MARKING else 4) == 0
