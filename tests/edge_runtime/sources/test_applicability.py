"""Options that mean nothing for a source are refused by name; those that mean something are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crackedge.edge_runtime import OptionError, open_source
from crackedge.edge_runtime.sources.addresses import find_addresses
from crackedge.edge_runtime.sources.applicability import refuse_misfits
from crackedge.edge_runtime.sources.pipe import RawVideo
from crackedge.edge_runtime.sources.source import SourceOptions


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("0", {"start_s": 3.0}, "camera 0: start does not apply; what is live has neither beginning nor end"),
        ("0", {"end_s": 3.0}, "camera 0: end does not apply"),
        ("rtsp://me:HUSH@127.0.0.1/x", {"every": 5}, r"rtsp://me:\*\*\*@127.0.0.1/x: every does not .*0\.5s"),
        ("csi://0", {"loop": True}, "csi://0: loop does not apply"),
        ("-", {"loop": True, "realtime": False}, "-: loop does not apply; it can be read only once"),
        ("-", {"start_s": 1.0}, "-: start does not apply"),
        ("picamera://0", {"realtime": True}, "realtime does not apply; it is live already"),
        (
            "udp://127.0.0.1:9",
            {"realtime": False},
            "no-realtime does not apply; only files and pipes",
        ),
        ("scene:", {"size_wh": (640, 480)}, "size does not apply; only cameras can be asked for one"),
        ("scene:", {"fps": 5.0}, "fps does not apply; it has a rate of its own"),
        ("scene:", {"raw": RawVideo(640, 480)}, "scene:: raw does not apply; it is no pipe or file"),
        (
            "PHOTOS",
            {"start_s": 1.0},
            "start does not apply; .* give them a rate with fps",
        ),
        ("PHOTOS", {"every_s": 1.0}, "every does not apply; images have no times"),
        ("PHOTOS", {"realtime": True}, "realtime does not apply; images have no times"),
    ],
)
def test_options_that_cannot_apply_are_refused_by_name(
    text: str, options: dict[str, Any], words: str, photo: Callable[..., Path]
) -> None:
    with pytest.raises(OptionError, match=words) as raised:
        open_source(photo("shots/1.png").parent if text == "PHOTOS" else text, SourceOptions(**options))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("0", {"size_wh": (1280, 720), "fps": 15.0, "rotate": 180, "flip": "h", "every_s": 0.5}),
        ("csi://0", {"size_wh": (1280, 720), "fps": 15.0}),
        ("rtsp://127.0.0.1/x", {"rotate": 90, "every_s": 0.5, "give_up_s": 5.0}),
        ("-", {"raw": RawVideo(64, 48), "fps": 10.0, "realtime": True}),
        ("-", {"realtime": False, "start_s": 1.0, "end_s": 2.0, "every": 5}),
        ("scene:", {"start_s": 1.0, "end_s": 2.0, "every": 5, "loop": True, "realtime": True}),
        ("https://127.0.0.1/clip.mp4", {"start_s": 1.0, "every_s": 0.5, "loop": True, "realtime": False}),
        ("PHOTOS", {"every": 3, "loop": True, "flip": "v"}),
        ("PHOTOS", {"fps": 5.0, "start_s": 1.0, "every_s": 0.5, "realtime": True}),
    ],
)
def test_all_others_pass(text: str, options: dict[str, Any], photo: Callable[..., Path]) -> None:
    (address,) = find_addresses(str(photo("shots/1.png").parent) if text == "PHOTOS" else text)
    refuse_misfits(address, SourceOptions(**options))
