"""A camera that flies over a synthetic structure: its frames, and what is in each of them, to the pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Frame, Image
from crackedge.edge_runtime.scenes.crack_shapes import CrackLine, crack_mask
from crackedge.edge_runtime.scenes.structures import Scene

VISIBLE_PX = 16.0  # open centre-line inside a frame from which on a crack counts as visible there


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the camera looks.

    Attributes:
        x: scene pixel in the middle of the frame, across.
        y: scene pixel in the middle of the frame, down.
        angle_rad: turn of the picture, clockwise on the frame.
        zoom: frame pixels per scene pixel.
    """

    x: float
    y: float
    angle_rad: float
    zoom: float

    def matrix(self, size_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
        """(2, 3) float64: from scene pixels to pixels of a frame of that size."""
        cosine, sine = self.zoom * np.cos(self.angle_rad), self.zoom * np.sin(self.angle_rad)
        turn = np.array([[cosine, -sine], [sine, cosine]])
        shift = np.array([(size_hw[1] - 1) / 2, (size_hw[0] - 1) / 2]) - turn @ (self.x, self.y)
        return np.column_stack([turn, shift])


@dataclass(frozen=True, slots=True)
class TrueLine:
    """A stretch of a crack's centre-line that lies inside a frame.

    Attributes:
        crack: number of the crack.
        path: (N, 2) float64, x and y in pixels of the frame.
        widths: (N,) float64, full width in pixels of the frame; 0 in a gap.
    """

    crack: int
    path: npt.NDArray[np.float64]
    widths: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FrameTruth:
    """What one frame shows.

    Attributes:
        index: of the frame.
        pose: of the camera, in the middle of the exposure.
        mm_per_px: size of one pixel of the frame.
        lines: centre-lines inside the frame.
        visible: numbers of the cracks with at least :data:`VISIBLE_PX` of open centre-line inside the frame.
        mask: (H, W) uint8, 255 on cracks, else 0.
    """

    index: int
    pose: Pose
    mm_per_px: float
    lines: tuple[TrueLine, ...]
    visible: tuple[int, ...]
    mask: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class SceneFlight:
    """A camera's flight over a scene: frames in order or at will, and the truth of each.

    Attributes:
        scene: what is flown over.
        width: of a frame, in pixels.
        height: of a frame, in pixels.
        frame_count: how many frames there are.
        fps: frames per second.
        speed_px: how far the picture moves from frame to frame on average, in pixels of the scene.
        zoom: frame pixels per scene pixel at mean height; the height varies by 4 % around it.
        noise: standard deviation of the sensor's noise, in grey levels.
        shutter: share of the frame's time during which it is exposed: what motion blurs.
    """

    scene: Scene
    width: int = 1280
    height: int = 720
    frame_count: int = 150
    fps: float = 25.0
    speed_px: float = 8.0
    zoom: float = 1.02
    noise: float = 2.0
    shutter: float = 0.3

    def __post_init__(self) -> None:
        """Refuse a flight that cannot be, or that would leave the scene."""
        if self.width < 64 or self.height < 64 or self.frame_count < 1 or not self.fps > 0 or not self.zoom > 0:
            raise OptionError(
                f"flight of {self.frame_count} frames of {self.width}x{self.height} at {self.fps:g} fps, zoom"
                f" {self.zoom:g}: expected at least one frame of 64x64 and a positive rate and zoom"
            )
        across, down = self._reach
        if across < 0 or down < 0:
            rows, columns = self.scene.image.shape[:2]
            raise OptionError(
                f"scene of {columns}x{rows} px: too small for frames of {self.width}x{self.height} at zoom"
                f" {self.zoom:g}; use a larger scene or smaller frames"
            )

    @property
    def name(self) -> str:
        """Name for folders and reports."""
        return f"scene-{self.scene.name}"

    @cached_property
    def _reach(self) -> tuple[float, float]:
        """How far the middle of the frame may leave the middle of the scene, across and down, in scene pixels."""
        rows, columns = self.scene.image.shape[:2]
        lowest = self.zoom * (1 - 0.04)
        tilt = np.sin(0.06)
        across = columns / 2 - (self.width + self.height * tilt) / 2 / lowest - 2
        down = rows / 2 - (self.height + self.width * tilt) / 2 / lowest - 2
        return float(across), float(down)

    @cached_property
    def _phases(self) -> npt.NDArray[np.float64]:
        """(8,) angles that set one flight apart from another."""
        return np.random.default_rng((self.scene.seed, 1)).uniform(0, 2 * np.pi, 8)

    def pose(self, index: float) -> Pose:
        """Where the camera looks at a frame, or between two: a smooth pan to and fro, with small unsteadiness."""
        across, down = self._reach
        rows, columns = self.scene.image.shape[:2]
        phase = self._phases
        way = index * self.speed_px
        seconds = index / self.fps
        sweep = np.pi * way / max(2 * across, 1.0)
        return Pose(
            x=float((columns - 1) / 2 - 0.97 * across * np.cos(sweep + 0.15) + 0.03 * across * np.sin(0.9 * seconds)),
            y=float((rows - 1) / 2 + down * (0.8 * np.sin(0.37 * sweep + phase[0]) + 0.2 * np.sin(seconds + phase[1]))),
            angle_rad=float(0.035 * np.sin(0.5 * seconds + phase[2]) + 0.02 * np.sin(1.7 * seconds + phase[3])),
            zoom=float(
                self.zoom * (1 + 0.03 * np.sin(0.6 * seconds + phase[4]) + 0.01 * np.sin(1.9 * seconds + phase[5]))
            ),
        )

    def exposure(self, index: float) -> float:
        """Gain of the camera at a frame: what suits the scene, drifting by 12 % as automatic exposures do."""
        seconds = index / self.fps
        drift = 0.08 * np.sin(0.8 * seconds + self._phases[6]) + 0.04 * np.sin(2.3 * seconds + self._phases[7])
        return float(self._metered * (1 + drift))

    @cached_property
    def _metered(self) -> float:
        """The gain that brings the scene to a middle grey, within what a camera can do."""
        return float(np.clip(128 / max(float(self.scene.image[::16, ::16].mean()), 1.0), 0.6, 2.0))

    @cached_property
    def _levels(self) -> tuple[Image, ...]:
        """The scene at full, half, ... size, down to what the zoom needs: no aliasing from far above."""
        levels = [self.scene.image]
        while self.zoom * 2 ** len(levels) <= 1.2:
            levels.append(np.asarray(cv2.pyrDown(levels[-1]), np.uint8))
        return tuple(levels)

    @cached_property
    def _vignette(self) -> Image:
        """(height, width, 3) uint8: what the lens lets through, 255 for all of it."""
        ys = np.linspace(-1, 1, self.height, dtype=np.float32)[:, None] * np.float32(self.height / self.width)
        xs = np.linspace(-1, 1, self.width, dtype=np.float32)[None, :]
        light = 255 / (1 + np.float32(0.18) * (xs * xs + ys * ys)) ** 2
        return np.ascontiguousarray(np.repeat(light.astype(np.uint8)[..., None], 3, axis=2))

    @cached_property
    def _grain(self) -> Image:
        """(height + 64, width + 64, 3) uint8 noise around 128, from which each frame cuts its own."""
        rng = np.random.default_rng((self.scene.seed, 2))
        grain = rng.standard_normal((self.height + 64, self.width + 64, 3), dtype=np.float32)
        return np.asarray(np.clip(np.rint(grain * np.float32(self.noise) + 128), 0, 255), np.uint8)

    def _smear(self, index: int) -> npt.NDArray[np.float32] | None:
        """Kernel of the motion blur, or None where the picture moves by less than a pixel while exposed."""
        size_hw = self.height, self.width
        here = self.pose(index)
        spots = [
            self.pose(t).matrix(size_hw) @ (here.x, here.y, 1.0)
            for t in (index - self.shutter / 2, index + self.shutter / 2)
        ]
        move = spots[1] - spots[0]
        length = float(np.hypot(*move))
        if length < 1:
            return None
        half = int(np.ceil(min(length, 30.0) / 2))
        kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
        for t in np.linspace(-0.5, 0.5, 4 * half + 1):
            x, y = t * move * min(1.0, 30.0 / length) + half
            column, row = int(np.clip(x, 0, 2 * half - 1e-6)), int(np.clip(y, 0, 2 * half - 1e-6))
            right, below = x - column, y - row
            kernel[row : row + 2, column : column + 2] += np.outer((1 - below, below), (1 - right, right))
        return np.asarray(kernel / kernel.sum(), np.float32)

    def frame(self, index: int) -> Frame:
        """One frame.

        Raises:
            OptionError: there is no such frame.
        """
        self._check(index)
        matrix = self.pose(index).matrix((self.height, self.width))
        level = len(self._levels) - 1
        matrix[:, :2] *= 2**level
        image = cv2.warpAffine(
            self._levels[level],
            matrix,
            (self.width, self.height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        if (kernel := self._smear(index)) is not None:
            image = cv2.filter2D(image, -1, kernel)
        image = cv2.multiply(image, self._vignette, scale=self.exposure(index) / 255)
        if self.noise > 0:
            top, left = (int(v) for v in np.random.default_rng((self.scene.seed, 3, index)).integers(0, 65, 2))
            grain = self._grain[top : top + self.height, left : left + self.width]
            image = cv2.addWeighted(image, 1.0, grain, 1.0, -128.0)
        return Frame(np.asarray(image, np.uint8), index, index / self.fps)

    def truth(self, index: int) -> FrameTruth:
        """What a frame shows, exactly.

        Raises:
            OptionError: there is no such frame.
        """
        self._check(index)
        pose = self.pose(index)
        matrix = pose.matrix((self.height, self.width))
        lines: list[TrueLine] = []
        drawn: list[CrackLine] = []
        visible = []
        for crack in self.scene.cracks:
            open_px = 0.0
            for line in crack.shape.lines:
                path = line.path @ matrix[:, :2].T + matrix[:, 2]
                widths = line.widths * pose.zoom
                drawn.append(CrackLine(path, widths))
                inside = (path >= -0.5).all(1) & (path < (self.width - 0.5, self.height - 0.5)).all(1)
                bounds = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(np.int8), [0]])))
                for first, end in bounds.reshape(-1, 2):
                    part = TrueLine(crack.number, path[first:end], widths[first:end])
                    lines.append(part)
                    steps = np.hypot(*np.diff(part.path, axis=0).T)
                    open_px += float(steps[(part.widths[:-1] > 0) & (part.widths[1:] > 0)].sum())
            if open_px >= VISIBLE_PX:
                visible.append(crack.number)
        return FrameTruth(
            index=index,
            pose=pose,
            mm_per_px=self.scene.mm_per_px / pose.zoom,
            lines=tuple(lines),
            visible=tuple(visible),
            mask=crack_mask(drawn, (self.height, self.width)),
        )

    def _check(self, index: int) -> None:
        if not 0 <= index < self.frame_count:
            raise OptionError(f"frame {index}: this flight has frames 0 to {self.frame_count - 1}")

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(index) for index in range(self.frame_count))

    def __len__(self) -> int:
        return self.frame_count
