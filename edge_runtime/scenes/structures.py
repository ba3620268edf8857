"""Synthetic structures: one large picture of a surface, with cracks of known path and width, and much that is none."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.scenes.crack_shapes import Crack, CrackLine, coverage, darken, depth_map, grow_crack
from crackedge.edge_runtime.scenes.distractors import DISTRACTORS, add_distractors
from crackedge.edge_runtime.scenes.surfaces import SURFACES, render_surface

MAX_CONTRAST = 0.25  # of a scene's cracks against what is around them
_NARROWEST_PX, _WIDEST_PX = 1.1, 5.4  # on the scene, so that with the camera's ups and downs a frame shows 1 to 6
_ROUGHEST = 0.045  # median difference of a pixel from its neighbourhood, as a share of the light
_KEEP_APART_PX = 96  # between two cracks: neighbours stay two cracks also on the 32-pixel lattice
_WALL = ("joint", "formwork", "panel-edge", "cable", "stain", "runs", "plants", "shadow", "tie-holes", "text", "mesh")
_ROAD = ("joint", "saw-cut", "paint-line", "patch", "stain", "shadow", "plants", "cable", "text")
_LITTER = {"wall": ("bug-holes", "scratches"), "road": ("scratches", "leaves")}


@dataclass(frozen=True, slots=True)
class SceneCrack:
    """One physical crack of a scene.

    Attributes:
        number: its place in ``Scene.cracks``, from 0.
        shape: path and widths in pixels of the scene.
        contrast: the largest share of light that is lost inside, at most 0.25.
    """

    number: int
    shape: Crack
    contrast: float

    @property
    def length_px(self) -> float:
        """Length of trunk and branches in pixels of the scene."""
        return sum(line.length_px for line in self.shape.lines)

    @property
    def width_px(self) -> float:
        """Median full width of the open trunk in pixels of the scene."""
        widths = self.shape.trunk.widths
        return float(np.median(widths[widths > 0]))


@dataclass(frozen=True, slots=True)
class Scene:
    """A structure.

    Attributes:
        name: surface and seed.
        seed: from which all of it follows.
        image: (H, W, 3) uint8 RGB.
        cracks: all that there are.
        mm_per_px: size of one pixel of the scene.
    """

    name: str
    seed: int
    image: Image
    cracks: tuple[SceneCrack, ...]
    mm_per_px: float


def make_scene(
    seed: int = 0,
    *,
    surface: str = "concrete",
    size_hw: tuple[int, int] = (1172, 2928),
    cracks: int = 6,
    distractors: int = 8,
    contrast: tuple[float, float] = (0.15, MAX_CONTRAST),
    width_px: tuple[float, float] = (1.4, 4.5),
    mm_per_px: float = 0.2,
) -> Scene:
    """A random structure.

    Args:
        seed: everything follows from it and the options.
        surface: one of :data:`crackedge.edge_runtime.scenes.surfaces.SURFACES`.
        size_hw: height and width in pixels.
        cracks: how many, exactly.
        distractors: how many large things that are not cracks; small ones, such as pits, come with them.
        contrast: range of the cracks' contrasts, at most 0.25.
        width_px: range of the cracks' typical widths; at every open point a crack is 1.1 to 5.4 px wide.
        mm_per_px: size of a pixel.

    Raises:
        OptionError: an option is out of range, or so many cracks do not fit.
    """
    if surface not in SURFACES:
        raise OptionError(f"surface {surface!r}: expected one of {', '.join(SURFACES)}")
    if not 0 < contrast[0] <= contrast[1] <= MAX_CONTRAST:
        raise OptionError(f"contrast {contrast}: expected a range within 0 and {MAX_CONTRAST}")
    if not 1 <= width_px[0] <= width_px[1] <= _WIDEST_PX:
        raise OptionError(f"crack width {width_px} px: expected a range within 1 and {_WIDEST_PX}")
    if min(size_hw) < 200:
        raise OptionError(f"scene of {size_hw[1]}x{size_hw[0]} px: expected at least 200 each way")
    if cracks < 0 or distractors < 0 or mm_per_px <= 0:
        raise OptionError(f"{cracks} cracks, {distractors} distractors, {mm_per_px} mm/px: expected none below 0")
    rng = np.random.default_rng((seed, *surface.encode()))
    image = render_surface(surface, size_hw, rng)
    _calm(image)
    place = "road" if "asphalt" in surface else "wall"
    kinds = rng.permutation(_ROAD if place == "road" else _WALL)
    for number in range(distractors):  # each kind once before any comes twice
        DISTRACTORS[str(kinds[number % len(kinds)])](image, rng)
    if distractors:
        _litter(image, rng, _LITTER[place])
    # The cracks come last: nothing lies over them, so the truth is what the picture shows.
    shapes = _place_cracks(rng, size_hw, cracks, width_px)
    found = []
    for number, shape in enumerate(shapes):
        depth = float(rng.uniform(*contrast))
        covered = coverage(shape.lines, size_hw)
        if (softness := float(rng.uniform(0.0, 0.6))) > 0.3:
            covered = np.asarray(cv2.GaussianBlur(covered, (0, 0), softness), np.float32)
        darken(image, covered, depth_map(rng, size_hw, depth, rough=0.15))
        found.append(SceneCrack(number, shape, depth))
    return Scene(f"{surface}-{seed}", seed, image, tuple(found), mm_per_px)


def _calm(image: Image) -> None:
    """Flatten a wild texture, in place: cracks of 25 % contrast shall be hard to see in it, not impossible."""
    smooth = cv2.blur(image, (17, 17))
    sample = (slice(None, None, 8), slice(None, None, 8), 1)
    level = max(float(smooth[sample].mean()), 1.0)
    roughness = float(np.median(np.abs(image[sample].astype(np.float32) - smooth[sample]))) / level
    if roughness > _ROUGHEST:
        kept = _ROUGHEST / roughness
        cv2.addWeighted(image, kept, smooth, 1 - kept, 0, image)


def _litter(image: Image, rng: np.random.Generator, kinds: tuple[str, ...]) -> None:
    """Small things all over a large picture, in place, window by window: they would be lost on the whole of it."""
    edge = 700
    for top in range(0, image.shape[0], edge):
        for left in range(0, image.shape[1], edge):
            if rng.random() < 0.5:
                window = image[top : top + edge, left : left + edge]
                window[:] = add_distractors(window, rng, kinds, count=1)


def _place_cracks(
    rng: np.random.Generator, size_hw: tuple[int, int], count: int, width_px: tuple[float, float]
) -> list[Crack]:
    """Cracks that lie within the picture and apart from each other."""
    height, width = size_hw
    coarse = 8
    taken = np.zeros((height // coarse + 1, width // coarse + 1), np.uint8)
    apart = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * (_KEEP_APART_PX // coarse) + 1,) * 2)
    shapes: list[Crack] = []
    reach = float(rng.uniform(0.7, 1.0)) * min(height, width / 2)
    for attempt in range(400):
        if len(shapes) == count:
            return shapes
        length = reach * rng.uniform(0.5, 1.0) * 0.985**attempt + 60
        heading = float(rng.uniform(-np.pi, np.pi))
        # One after the other from left to right, so that a camera that flies along meets all of them.
        slot = (len(shapes) + rng.uniform(0.1, 0.9)) / count
        middle = np.array([slot * width, rng.uniform(0.25, 0.75) * height])
        start = middle - np.array([np.cos(heading), np.sin(heading)]) * length * 0.45
        typical = float(np.exp(rng.uniform(*np.log(width_px))))
        grown = grow_crack(rng, start=start, heading=heading, length_px=length, width_px=typical)
        points = np.concatenate([line.path for line in grown.lines])
        if points.min() < 12 or (points >= (width - 12, height - 12)).any():
            continue
        cells = tuple((points[:, ::-1] / coarse).astype(np.intp).T)
        if taken[cells].any():
            continue
        own = np.zeros_like(taken)
        own[cells] = 1
        taken |= np.asarray(cv2.dilate(own, apart), np.uint8)
        shapes.append(
            Crack(
                tuple(
                    CrackLine(
                        line.path, np.where(line.widths > 0, np.clip(line.widths, _NARROWEST_PX, _WIDEST_PX), 0.0)
                    )
                    for line in grown.lines
                )
            )
        )
    if len(shapes) == count:
        return shapes
    raise OptionError(f"{count} cracks on {width}x{height} px: only {len(shapes)} fit; ask for fewer or a larger scene")
