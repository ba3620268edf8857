"""Orientation: pictures turned and mirrored, as a camera's mounting asks for."""

from __future__ import annotations

import cv2
import numpy as np

from crackedge.edge_runtime.frame import Image

_TURNS = {0: None, 90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
_FLIPS = {"": None, "h": 1, "v": 0, "hv": -1}


def oriented(image: Image, *, rotate: int = 0, flip: str = "") -> Image:
    """The picture turned, and then mirrored; itself where there is nothing to do.

    Args:
        image: (H, W, 3) uint8.
        rotate: degrees clockwise: 0, 90, 180 or 270.
        flip: ``"h"``: left and right change places, ``"v"``: top and bottom, ``"hv"``: both, ``""``: neither.
    """
    turn, mirror = _TURNS[rotate], _FLIPS[flip]
    if turn is not None:
        image = np.asarray(cv2.rotate(image, turn), np.uint8)
    if mirror is not None:
        image = np.asarray(cv2.flip(image, mirror), np.uint8)
    return image
