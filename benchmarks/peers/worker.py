"""A peer at work in an environment of its own: a script that knows nothing of crackedge, driven through pipes.

    python worker.py PEER

It reads one JSON object a line and answers each with one; what cannot be done is answered by ``{"error": REASON}``.

1. ``{"model", "threads", "tile", "stride", "scale", "bias", "threshold"}``: get ready. Answer: ``{"versions"}``.
2. ``{"frames": FILE}``, an ``.npy`` file (N, H, W, 3) uint8 RGB: take it into memory. Answer: ``{"count"}``.
3. ``{"frame": NUMBER}``: work on one of them. Answer: ``{"ms", "scores"}``, its time and what was found there.
4. ``{"video": FILE, "lines": FILE, "marked": FILE or null}``: work on a whole video. Answer: ``{"count"}``.

At the end of its input the worker ends. Each library is used as its documentation shows it, with the network called
one tile at a time through one interpreter.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Job = dict[str, Any]
Scan = Callable[[Any], tuple[float, list[float]]]  # an (H, W, 3) uint8 RGB image to seconds and scores

_PACKAGES = ("supervision", "sahi", "openvino", "ai-edge-litert", "numpy", "opencv-python", "opencv-python-headless")


class Classifier:
    """Probability of a crack in one tile."""

    def __init__(self, job: Job) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._network = Interpreter(model_path=job["model"], num_threads=job["threads"])
        self._input = self._network.get_input_details()[0]["index"]
        result = self._network.get_output_details()[0]
        self._output, (step, self._zero) = result["index"], result["quantization"]
        self._step = step or 1.0
        self._scale, self._bias = job["scale"], job["bias"]
        self._network.resize_tensor_input(self._input, (1, job["tile"], job["tile"], 3))
        self._network.allocate_tensors()

    def __call__(self, tile: Any) -> float:
        """Of a uint8 RGB tile."""
        np.copyto(self._network.tensor(self._input)()[0], tile)
        self._network.invoke()
        logit = (float(self._network.get_tensor(self._output).mean(dtype=np.float64)) - self._zero) * self._step
        return 1 / (1 + math.exp(-(self._scale * logit + self._bias)))


def corners(height: int, width: int, *, tile: int, stride: int) -> list[tuple[int, int]]:
    """Top and left of the tiles that cover a frame, row by row, the last ones at its edge."""
    rows, columns = ([*range(0, length - tile, stride), length - tile] for length in (height, width))
    return [(y, x) for y in rows for x in columns]


def naive(job: Job) -> Scan:
    """The loop that everybody writes."""
    classify, side = Classifier(job), job["tile"]

    def scan(image: Any) -> tuple[float, list[float]]:
        before = time.perf_counter()
        places = corners(*image.shape[:2], tile=side, stride=job["stride"])
        scores = [classify(image[y : y + side, x : x + side]) for y, x in places]
        return time.perf_counter() - before, scores

    return scan


def supervision(job: Job) -> Scan:
    """``InferenceSlicer`` with a callback that makes a detection of a cracked tile."""
    import supervision as sv

    classify, side = Classifier(job), job["tile"]
    scores: list[float] = []
    whole = np.array([[0, 0, side, side]], np.float32)

    def detect(tile: Any) -> Any:
        scores.append(classify(tile))
        if scores[-1] < job["threshold"]:
            return sv.Detections.empty()
        return sv.Detections(xyxy=whole, confidence=np.array(scores[-1:]), class_id=np.zeros(1, int))

    slicer = sv.InferenceSlicer(callback=detect, slice_wh=(side, side), overlap_wh=(side - job["stride"],) * 2)

    def scan(image: Any) -> tuple[float, list[float]]:
        scores.clear()
        before = time.perf_counter()
        slicer(image)
        return time.perf_counter() - before, list(scores)

    return scan


def sahi(job: Job) -> Scan:
    """``get_sliced_prediction`` with a model that makes a detection of a cracked tile."""
    from sahi.models.base import DetectionModel
    from sahi.predict import get_sliced_prediction
    from sahi.prediction import ObjectPrediction

    classify, side = Classifier(job), job["tile"]
    scores: list[float] = []

    class Tiles(DetectionModel):  # type: ignore[misc]
        def load_model(self) -> None:
            self.model, self.category_mapping = classify, {"0": "crack"}

        def perform_inference(self, image: Any) -> None:
            scores.append(classify(image))

        def _create_object_prediction_list_from_original_predictions(
            self, shift_amount_list: Any = None, full_shape_list: Any = None
        ) -> None:
            cracks = []
            if scores[-1] >= self.confidence_threshold:
                shift, shape = shift_amount_list[0], full_shape_list and full_shape_list[0]
                cracks.append(ObjectPrediction([0, 0, side, side], 0, "crack", None, scores[-1], shift, shape))
            self._object_prediction_list_per_image = [cracks]

    model = Tiles(confidence_threshold=job["threshold"], device="cpu")
    overlap = 1 - job["stride"] / side
    slices = {"slice_height": side, "slice_width": side, "perform_standard_pred": False, "verbose": 0}
    overlaps = {"overlap_height_ratio": overlap, "overlap_width_ratio": overlap}

    def scan(image: Any) -> tuple[float, list[float]]:
        scores.clear()
        before = time.perf_counter()
        get_sliced_prediction(image, model, **slices, **overlaps)
        return time.perf_counter() - before, list(scores)

    return scan


def openvino(job: Job) -> Scan:
    """The whole frame in one pass, of which the inference alone is timed; the scores are its output as it is.

    The frames' sides must be multiples of 32.
    """
    import openvino as ov

    core = ov.Core()
    model = core.read_model(job["model"])
    options = {"INFERENCE_NUM_THREADS": job["threads"], "PERFORMANCE_HINT": "LATENCY"}
    made: dict[tuple[int, ...], tuple[Any, Any]] = {}

    def scan(image: Any) -> tuple[float, list[float]]:
        shape = (1, *image.shape)
        if shape not in made:
            model.reshape(list(shape))
            made[shape] = core.compile_model(model, "CPU", options).create_infer_request(), np.empty(shape, np.uint8)
            made[shape][0].set_input_tensor(ov.Tensor(made[shape][1], shared_memory=True))
        request, pixels = made[shape]
        np.copyto(pixels[0], image)
        before = time.perf_counter()
        request.infer()
        elapsed = time.perf_counter() - before
        return elapsed, request.get_output_tensor().data.ravel().tolist()

    return scan


def nothing(_: Job) -> Scan:
    """No work at all: what is left is the cost of being driven."""

    def scan(_: Any) -> tuple[float, list[float]]:
        before = time.perf_counter()
        return time.perf_counter() - before, [0.0]

    return scan


PEERS: dict[str, Callable[[Job], Scan]] = {
    "naive": naive,
    "supervision": supervision,
    "sahi": sahi,
    "openvino": openvino,
    "nothing": nothing,
}


def scan_video(scan: Scan, job: Job, *, video: str, lines: str, marked: str | None) -> int:
    """The script around it: read with OpenCV, box the cracked tiles, write a video and a JSON line for each frame."""
    import cv2

    source = cv2.VideoCapture(video)
    if not source.isOpened():
        raise OSError(f"{video}: cannot be opened")
    writer: Any = None
    count, side = 0, job["tile"]
    with open(lines, "w", encoding="utf-8") as results:  # noqa: PTH123 - as a script would
        while True:
            there, picture = source.read()
            if not there:
                break
            _, scores = scan(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
            places = corners(*picture.shape[:2], tile=side, stride=job["stride"])
            cracks = [(x, y, score) for (y, x), score in zip(places, scores, strict=True) if score >= job["threshold"]]
            results.write(json.dumps({"index": count, "cracks": cracks}) + "\n")
            if marked is not None:
                if writer is None:
                    size_wh = picture.shape[1], picture.shape[0]
                    writer = cv2.VideoWriter(marked, cv2.VideoWriter.fourcc(*"mp4v"), source.get(5) or 25.0, size_wh)
                for x, y, score in cracks:
                    cv2.rectangle(picture, (x, y), (x + side, y + side), (0, 0, 255), 2)
                    cv2.putText(picture, f"{score:.2f}", (x, y + 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 255))
                writer.write(picture)
            count += 1
    if writer is not None:
        writer.release()
    source.release()
    return count


def main() -> None:
    """Serve."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    job: Job = {}
    scan: Scan | None = None
    frames: Any = []
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if scan is None:
                job = asked
                scan = PEERS[sys.argv[1]](job)
                answer: Job = {"versions": _versions()}
            elif "frames" in asked:
                frames = np.load(asked["frames"])
                answer = {"count": len(frames)}
            elif "video" in asked:
                answer = {"count": scan_video(scan, job, **asked)}
            else:
                seconds, scores = scan(frames[asked["frame"]])
                answer = {"ms": seconds * 1e3, "scores": scores}
        except Exception as error:  # whatever it is, the other end shall know
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # noqa: PERF203 - most are absent, by design
            continue
    return {"python": sys.version.split()[0], **found}


if __name__ == "__main__":
    main()
