"""Turned, and then mirrored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crackedge.edge_runtime.sources.orientation import oriented

IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize(
    ("flip", "mirrored"),
    [
        ("", lambda image: image),
        ("h", lambda image: image[:, ::-1]),
        ("v", lambda image: image[::-1]),
        ("hv", lambda image: image[::-1, ::-1]),
    ],
)
def test_every_mounting(turns: int, flip: str, mirrored: Any) -> None:
    found = oriented(IMAGE, rotate=90 * turns, flip=flip)
    assert np.array_equal(found, mirrored(np.rot90(IMAGE, -turns)))
    assert found.flags.c_contiguous


def test_nothing_to_do_is_no_copy() -> None:
    assert oriented(IMAGE) is IMAGE
