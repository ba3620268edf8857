"""Beginning in the middle of a video gives the very frames, numbers and times of reading it from its beginning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from crackedge.edge_runtime import SourceError, open_source
from crackedge.edge_runtime.sources.seeking import packets_from
from crackedge.edge_runtime.sources.source import SourceOptions


def long_video(write_video: Any, name: str, **options: Any) -> Path:
    codec = "mjpeg" if name.endswith("avi") else "libx264"
    path: Path = write_video(name, frames=120, key_every=12, codec=codec, **options)
    return path


def same_from(path: Path, start_s: float) -> None:
    with open_source(path) as source:
        whole = [frame for frame in source if frame.time_s >= start_s - 5e-4]
    with open_source(path, SourceOptions(start_s=start_s)) as source:
        part = list(source)
    assert [(frame.index, frame.time_s) for frame in part] == [(frame.index, frame.time_s) for frame in whole]
    assert all(np.array_equal(one.image, other.image) for one, other in zip(part, whole, strict=True))
    assert source.gaps == []


@pytest.mark.parametrize("name", ["c.mp4", "c.mkv", "c.avi", "c.ts", "c.h264", "c.mov"])
@pytest.mark.parametrize("start_s", [0.05, 2.4, 4.7])
def test_every_container(name: str, start_s: float, write_video: Any) -> None:
    same_from(long_video(write_video, name), start_s)


def test_fragments_have_no_table_of_frames(write_video: Any) -> None:
    same_from(long_video(write_video, "c.mp4", movflags="frag_keyframe+empty_moov"), 7.3)


def test_variable_rates(write_video: Any) -> None:
    rng = np.random.default_rng(7)
    times_s = np.cumsum(rng.uniform(0.01, 0.3, 80)).tolist()
    path = write_video(times_s=times_s, key_every=9)
    for start_s in (1.0, times_s[40], 9.0):
        same_from(path, start_s)


def test_pictures_that_lean_on_what_comes_before_the_key_frame(tmp_path: Path) -> None:
    """Open groups of pictures: shown before the key frame, stored after it, and not to be decoded without the last."""
    path = tmp_path / "open.mp4"
    with av.open(str(path), "w") as container:
        options = {"x264-params": "open-gop=1:bframes=3:b-adapt=0:keyint=15:min-keyint=15:scenecut=0"}
        stream: Any = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        rng = np.random.default_rng(1)
        texture = rng.integers(0, 255, (64, 300, 3), dtype=np.uint8)
        for number in range(100):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(texture[:, number : number + 96]), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as again:
        stamps = [(p.pts or 0, p.is_keyframe) for p in again.demux(video=0) if p.size]
    leading = [pts for number, (pts, key) in enumerate(stamps) if key and number and stamps[number + 1][0] < pts]
    assert leading, "the encoder made open groups"
    for start_s in (0.56, 1.2, 2.0, 3.0):
        same_from(path, start_s)


def test_only_what_is_needed_is_decoded(write_video: Any) -> None:
    with av.open(str(long_video(write_video, "c.mp4"))) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        found = packets_from(container, stream, round(7.3 / stream.time_base))
        assert found is not None
        number, packets = found
        first = next(packets)
        assert first.is_keyframe
        assert number == 72


def test_a_stretch_ends_before_its_end_without_a_gap(write_video: Any) -> None:
    path = long_video(write_video, "c.mp4")
    with open_source(path, SourceOptions(start_s=2.0, end_s=4.0, every=5)) as source:
        assert [frame.index for frame in source] == [20, 25, 30, 35]
        assert source.frame_count == 4
        assert source.fps == pytest.approx(2.0, rel=0.01)
    assert source.gaps == []


def test_a_start_after_the_end(write_video: Any) -> None:
    with open_source(write_video(), SourceOptions(start_s=5.0)) as source, pytest.raises(SourceError) as raised:
        list(source)
    assert str(raised.value).endswith("clip.mp4: no frame from 5 s on; it is 2.0 s long, give other times")


def test_damage_after_the_start_is_a_gap_and_damage_before_it_is_not_met(
    write_video: Any, spoil: Callable[[Path, int], None]
) -> None:
    path = long_video(write_video, "c.mp4", movflags="faststart")
    spoil(path, 40)
    with open_source(path, SourceOptions(start_s=6.0)) as source:
        frames = list(source)
    assert source.gaps == []
    assert frames[0].index == 60
    with open_source(path, SourceOptions(start_s=3.0)) as source:
        frames = list(source)
    assert [gap.reason for gap in source.gaps] == ["damaged data"]
    assert frames[0].index == 30
