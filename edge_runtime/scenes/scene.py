"""Synthetic scenes with known cracks: a source like any other, with the truth. All of it follows from one seed.

A *scene* is one large picture of a surface: cracks of known path and width; joints, stains and shadows that are none.
A *flight* shows it frame by frame as a drone's camera would, and knows for every frame what is in it, to the pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.scenes.flights import VISIBLE_PX, FrameTruth, Pose, SceneFlight, TrueLine
from crackedge.edge_runtime.scenes.structures import MAX_CONTRAST, Scene, SceneCrack, make_scene
from crackedge.edge_runtime.scenes.surfaces import SURFACES

__all__ = [
    "MAX_CONTRAST",
    "SURFACES",
    "VISIBLE_PX",
    "FrameTruth",
    "Pose",
    "Scene",
    "SceneCrack",
    "SceneFlight",
    "TrueLine",
    "make_scene",
    "parse_scene",
]

_PREFIX = "scene:"
_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "seed": "0",
        "frames": "150",
        "size": "1280x720",
        "fps": "25",
        "cracks": "6",
        "distractors": "8",
        "speed": "8",
        "noise": "2",
    }
)


def parse_scene(text: str) -> SceneFlight:
    """The flight that a ``scene:`` address asks for, such as ``scene:brick?seed=3&frames=120&size=1920x1080&fps=25``.

    ``scene:`` alone is concrete, seed 0, 150 frames of 1280x720 at 25 a second.

    Raises:
        OptionError: not such an address, an unknown surface or key, or a value that cannot be used.
    """
    if not text.startswith(_PREFIX):
        raise OptionError(f"source {text!r}: expected {_PREFIX}SURFACE?key=value&...")
    surface, _, query = text[len(_PREFIX) :].partition("?")
    surface = surface.strip("/") or "concrete"
    if surface not in SURFACES:
        raise OptionError(f"{text}: surface {surface!r}: expected one of {', '.join(SURFACES)}")
    values = dict(_KEYS)
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in _KEYS:
            raise OptionError(f"{text}: key {key!r}: expected some of {', '.join(_KEYS)}")
        values[key] = value
    # Every value is read before the first pixel is made.
    width, height = _size(text, values["size"])
    seed, cracks, distractors = (_whole(text, key, values[key], 0) for key in ("seed", "cracks", "distractors"))
    frame_count = _whole(text, "frames", values["frames"], 1)
    fps = _number(text, "fps", values["fps"], 0.1, 1000)
    speed_px = _number(text, "speed", values["speed"], 0, 1000)
    noise = _number(text, "noise", values["noise"], 0, 40)
    # Room for the camera's way, whatever the frame's size: mostly to the side.
    size_hw = int(height * 1.35) + 200, int(width * 1.35) + 1200
    scene = make_scene(seed, surface=surface, size_hw=size_hw, cracks=cracks, distractors=distractors)
    return SceneFlight(
        scene, width=width, height=height, frame_count=frame_count, fps=fps, speed_px=speed_px, noise=noise
    )


def _whole(text: str, key: str, value: str, least: int) -> int:
    if not value.isascii() or not value.isdigit() or int(value) < least:
        raise OptionError(f"{text}: {key}={value}: expected a whole number of at least {least}")
    return int(value)


def _number(text: str, key: str, value: str, least: float, most: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        raise OptionError(f"{text}: {key}={value}: expected a number between {least:g} and {most:g}")
    return number


def _size(text: str, value: str) -> tuple[int, int]:
    width, cross, height = value.partition("x")
    if not (
        value.isascii()
        and cross
        and width.isdigit()
        and height.isdigit()
        and 64 <= int(width) <= 7680
        and 64 <= int(height) <= 7680
    ):
        raise OptionError(f"{text}: size={value}: expected WIDTHxHEIGHT in pixels, such as 1280x720, 64 to 7680 each")
    return int(width), int(height)
