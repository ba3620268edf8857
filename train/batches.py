"""Batches of canvases for Keras, drawn on the robot's own image code: no TensorFlow operation touches a pixel."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import cv2
import keras
import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.errors import CrackedgeError
from crackedge.edge_runtime.lattice import CELL, TILE
from crackedge.edge_runtime.scenes.crack_shapes import draw_crack
from crackedge.edge_runtime.scenes.distractors import add_distractors
from crackedge.edge_runtime.scenes.surfaces import render_surface
from crackedge.train.augment import affine, photograph
from crackedge.train.canvas import CRACK, Label, View, heal, mosaic, targets, transplant
from crackedge.train.corpus import Corpus, Photo
from crackedge.train.recipe import Recipe

Rng = np.random.Generator


def draw_canvas(corpus: Corpus, recipe: Recipe, rng: Rng) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """One training example.

    Returns:
        The canvas, (S, S, 3) uint8 RGB, and its targets, (S/32, S/32, 4) float32, see
        :func:`crackedge.train.canvas.targets`.
    """
    if recipe.augment == "flip":
        view = _mirrored(_plain_tile(corpus.draw(rng), rng), rng)
        return view.image, targets(view)
    kind = rng.random()
    if kind < recipe.synthetic:
        view = _synthetic(corpus, recipe.canvas_px, rng)
        truth = targets(view)
    elif recipe.canvas_px == TILE:
        view = _tile(corpus, recipe, rng)
        truth = targets(view)
    elif kind < recipe.synthetic + recipe.wide and corpus.has_masks:
        view = _wide(corpus, recipe, rng)
        truth = targets(view)
    else:
        view, truth = mosaic([_tile(corpus, recipe, rng) for _ in range(4)])
    return photograph(view.image, rng), truth


def _plain_tile(photo: Photo, rng: Rng) -> View:
    """A photo as evaluation sees it: resized as a whole; of one with a mask, some window."""
    image, label, size = photo.image, photo.label, (TILE, TILE)
    if photo.as_whole:  # and by its set, not by what it shows, or the scale would tell the classes apart
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        label = np.asarray(cv2.resize(label, size, interpolation=cv2.INTER_NEAREST), np.uint8)
        return View(image, label, weak_crack=photo.weak_crack, smoothing=photo.use.smoothing)
    below, right = (max(0, TILE - edge) for edge in label.shape)
    image, label = (
        np.asarray(cv2.copyMakeBorder(plane, 0, below, 0, right, cv2.BORDER_REFLECT_101), np.uint8)
        for plane in (image, label)
    )
    y, x = (int(rng.integers(edge - TILE + 1)) for edge in label.shape)
    window = slice(y, y + TILE), slice(x, x + TILE)
    return View(image[window], label[window], smoothing=photo.use.smoothing)


def _mirrored(view: View, rng: Rng) -> View:
    if rng.random() < 0.5:
        return view
    return replace(view, image=view.image[:, ::-1], label=view.label[:, ::-1])


def _tile(corpus: Corpus, recipe: Recipe, rng: Rng) -> View:
    """A view of a tile's size. A photo of which only the whole is labelled is shown nearly whole."""
    photo = _squeezed(_perhaps_healed(corpus.draw(rng), recipe, rng))
    if photo.as_whole:  # both classes alike, or the scale would tell them apart
        scale = TILE / min(photo.label.shape) * _log_uniform(rng, 0.75, 1.4)
    else:
        scale = _log_uniform(rng, 0.4, photo.use.max_scale)
    return _dressed(photo, corpus, TILE, scale, rng)


def _squeezed(photo: Photo) -> Photo:
    """A long photo of which only the whole has a class, made square as evaluation does: a piece may miss the crack."""
    side, length = sorted(photo.label.shape)
    if not photo.as_whole or length <= 1.5 * side:
        return photo
    image = np.asarray(cv2.resize(photo.image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    label = np.asarray(cv2.resize(photo.label, (side, side), interpolation=cv2.INTER_NEAREST), np.uint8)
    return replace(photo, image=image, label=label)


def _wide(corpus: Corpus, recipe: Recipe, rng: Rng) -> View:
    """A view wider than a window, of a photo whose pixels are labelled."""
    size = recipe.canvas_px
    photo = _perhaps_healed(corpus.draw_wide(rng), recipe, rng)
    fill = size / min(photo.label.shape)
    return _dressed(photo, corpus, size, _log_uniform(rng, max(0.4, 0.5 * fill), max(1.2, 1.5 * fill)), rng)


def _perhaps_healed(photo: Photo, recipe: Recipe, rng: Rng) -> Photo:
    if not (photo.label == CRACK).any() or rng.random() >= recipe.healed:
        return photo
    image, label = heal(photo.image, photo.label, rng)
    return replace(photo, image=image, label=label)


def _dressed(photo: Photo, corpus: Corpus, size: int, scale: float, rng: Rng) -> View:
    """A view of a photo; where it has no crack, sometimes with what looks like one, or with one."""
    image, label = affine(photo.image, photo.label, out_px=size, scale=scale, rng=rng)
    weak = photo.weak_crack and size == TILE
    if not weak and not label.any():
        if rng.random() < 0.25:
            image = add_distractors(image, rng)
        if rng.random() < 0.35:
            image, label = _cracked(image, corpus, rng)
    return View(image, label, weak_crack=weak, smoothing=photo.use.smoothing)


def _synthetic(corpus: Corpus, size: int, rng: Rng) -> View:
    image = render_surface(None, (size, size), rng)
    label = np.zeros((size, size), np.uint8)
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(1, 3))):
            image, more = _cracked(image, corpus, rng)
            label = np.maximum(label, more)
    if rng.random() < 0.7:
        # Drawn over cracks too: a crack behind a cable is still there around it.
        image = add_distractors(image, rng)
    return View(image, label)


def _cracked(image: npt.NDArray[np.uint8], corpus: Corpus, rng: Rng) -> tuple[npt.NDArray[np.uint8], Label]:
    """The image with a crack: a real one of another photograph, or a drawn one."""
    size = image.shape[0]
    donor = corpus.draw_donor(rng) if rng.random() < 0.5 else None
    if donor is not None:
        scale = size / min(donor.label.shape) * _log_uniform(rng, 0.6, 1.5)
        picture, mask = affine(donor.image, donor.label, out_px=size, scale=scale, rng=rng)
        if (mask == CRACK).any():
            return transplant(image, picture, mask, rng)
    width = _log_uniform(rng, 1.2, 24.0)
    contrast = rng.uniform(0.12, 0.6) if width < 6 else rng.uniform(0.3, 0.85)
    # On a larger picture, of which a part is kept: real cracks also cut corners and end at an edge.
    edge = size // 2 if rng.random() < 0.5 else 0
    drawn = np.asarray(cv2.copyMakeBorder(image, edge, edge, edge, edge, cv2.BORDER_REFLECT_101), np.uint8)
    mask = draw_crack(drawn, rng, width_px=width, contrast=contrast)
    inside = slice(edge, edge + size)
    return np.ascontiguousarray(drawn[inside, inside]), np.ascontiguousarray(mask[inside, inside])


def _log_uniform(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


class CanvasBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of canvases without end; the same seed gives the same ones in the same order, from any epoch on.

    Without end, because Keras draws ahead of an epoch's last step: what it drew then comes first in the next epoch.

    Attributes:
        failure: why a batch could not be drawn; it is empty then. An error that is raised in Keras' data threads
            becomes another on its way, and the process cannot end cleanly.
    """

    def __init__(self, corpus: Corpus, recipe: Recipe, *, epoch: int = 0, workers: int = 2) -> None:
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=8)
        self.corpus, self.recipe, self.epoch = corpus, recipe, epoch
        self.failure: CrackedgeError | None = None
        self._closed = False
        self._drawing = threading.Semaphore(workers)

    @property
    def num_batches(self) -> None:
        """There is no last one."""
        return

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """(B, S, S, 3) float32 in [0, 255], and (B, S/32, S/32, 4) float32."""
        rng = np.random.default_rng([self.recipe.seed, self.epoch * self.recipe.steps_per_epoch + index])
        size = self.recipe.canvas_px
        drawn = [(np.zeros((size, size, 3), np.uint8), np.zeros((size // CELL, size // CELL, 4), np.float32))]
        drawn *= self.recipe.batch
        with self._drawing:
            try:
                if not self._closed:
                    drawn = [draw_canvas(self.corpus, self.recipe, rng) for _ in range(self.recipe.batch)]
            except CrackedgeError as error:
                self.failure = error
        images, truths = zip(*drawn, strict=True)
        return np.stack(images).astype(np.float32), np.stack(truths)

    def close(self) -> None:
        """Draw no more, and wait for what is being drawn: a thread in OpenCV aborts a process that ends first."""
        self._closed = True
        for _ in range(self.workers):
            self._drawing.acquire()
        self._drawing.release(self.workers)
