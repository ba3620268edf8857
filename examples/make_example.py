"""Make ``flight.mp4``, the example clip, with crackedge's own scene generator: ``python examples/make_example.py``."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av

from crackedge.edge_runtime.scenes.scene import parse_scene

SCENE = "scene:concrete?seed=3&frames=175&fps=25&size=1280x720&speed=7&noise=2"
CLIP = Path(__file__).with_name("flight.mp4")


def main() -> None:
    """Render the flight and write it as H.264, the fine texture kept as well as two megabytes allow."""
    flight = parse_scene(SCENE)
    with av.open(str(CLIP), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(flight.fps), options={"crf": "20", "preset": "slow"})
        stream.width, stream.height, stream.pix_fmt = flight.width, flight.height, "yuv420p"
        for frame in flight:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")))
        container.mux(stream.encode())


if __name__ == "__main__":
    main()
