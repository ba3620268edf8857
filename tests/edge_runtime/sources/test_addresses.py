"""The grammar of sources: what a text stands for, before anything is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackedge.edge_runtime import OptionError, SourceError
from crackedge.edge_runtime.sources.addresses import find_addresses, folder_name, in_order, without_secrets


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("0", "camera", "camera-0"),
        ("12", "camera", "camera-12"),
        ("/dev/video3", "camera", "camera-video3"),
        ("scene:", "scene", "scene"),
        ("scene:brick?seed=3", "scene", "scene"),
        ("rtsp://u:p@10.0.0.5:554/cam/1", "stream", "10.0.0.5_554_cam_1"),
        ("udp://239.0.0.1:1234", "stream", "239.0.0.1_1234"),
        ("http://10.0.0.5/video.mjpg?token=abc", "stream", "10.0.0.5_video.mjpg"),
        ("https://example.org/flights/bridge%207.MP4?x=1", "video", "bridge_7"),
        ("v4l2:///dev/video2", "camera", "camera-video2"),
        ("csi://0", "camera", "csi-0"),
        ("CSI://1/", "camera", "csi-1"),
        ("picamera://0", "camera", "picamera-0"),
        ("gst:videotestsrc ! videoconvert", "stream", "gst"),
        ("gst:rtspsrc location=rtsp://10.0.0.5/cam ! decodebin", "stream", "gst"),
        ("-", "stream", "stdin"),
    ],
)
def test_texts_that_are_no_files(text: str, kind: str, name: str) -> None:
    (address,) = find_addresses(text)
    assert (address.kind, address.name) == (kind, name)
    assert address.paths == ()
    assert address.is_pipe == (text == "-")


def test_files_by_suffix_and_by_content(tmp_path: Path, photo: Callable[..., Path]) -> None:
    odd = photo("photo.png").rename(tmp_path / "photo.dat")
    (tmp_path / "clip.MOV").write_bytes(b"")
    (tmp_path / "7").write_bytes(b"")
    assert [a.kind for a in find_addresses(str(odd))] == ["images"]
    assert [a.kind for a in find_addresses(str(tmp_path / "clip.MOV"))] == ["video"]
    assert [a.kind for a in find_addresses(str(tmp_path / "7"))] == ["video"], "only a bare number is a camera"


def test_shared_memory_is_no_camera() -> None:
    with pytest.raises(SourceError, match="no such file"):
        find_addresses("/dev/shm/no-such-flight.mp4")
    assert [a.kind for a in find_addresses("/dev/null")] == ["camera"]


def test_a_named_pipe_is_a_stream(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (address,) = find_addresses(str(tmp_path / "pipe"))
    assert (address.kind, address.is_pipe) == ("stream", True)


def test_a_device_by_its_address_is_that_device() -> None:
    assert [a.text for a in find_addresses("v4l2:///dev/video2")] == ["/dev/video2"]


@pytest.mark.parametrize("text", ["v4l2://2", "v4l2:///tmp/video0", "csi://front", "picamera://-1", "gopher://x/y"])
def test_addresses_of_no_camera(text: str) -> None:
    with pytest.raises(OptionError, match="expected"):
        find_addresses(text)


def test_folders_and_globs(tmp_path: Path) -> None:
    for name in ("a10.jpg", "a9.jpg", "B1.PNG", ".hidden.jpg", "notes.txt", "sub/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (folder,) = find_addresses(str(tmp_path))
    assert folder.kind == "images"
    assert folder.name == tmp_path.name
    assert [Path(file).name for file in folder.files] == ["a9.jpg", "a10.jpg", "B1.PNG"]
    (every,) = find_addresses(str(tmp_path / "**/*.jpg"))
    assert [Path(file).name for file in every.files] == ["a9.jpg", "a10.jpg", "c.jpg"]
    assert every.name == tmp_path.name
    (tmp_path / "x.mp4").write_bytes(b"")
    (tmp_path / "y.mkv").write_bytes(b"")
    assert [a.kind for a in find_addresses(str(tmp_path))] == ["images", "video", "video"]
    assert [a.name for a in find_addresses(str(tmp_path / "*.m*"))] == ["x", "y"]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        (["IMG_1.HEIC", "DJI_1.DNG", "day2/b.jpg"], "2 files of other kinds (.dng, .heic) and 1 subfolder with images"),
        (["x.cr3"], "1 file of other kinds (.cr3)"),
        (["day2/rgb/1/b.PNG", "day3/c.nef"], "2 subfolders with images"),
        (["a.dng", "notes.txt", "a.srt", "a.json", ".x.heic", "._a.dng"], ""),
        (["logs/x.txt", ".thumbnails/a.jpg", "day2/.thumbnails/a.jpg", "day2/._b.jpg"], ""),
        (["out/results.jsonl", "out/marked/a.jpg", "runs/a-2/results.jsonl", "runs/a-2/marked/a.jpg"], ""),
    ],
)
def test_photographs_that_are_not_read_are_told(beside: list[str], said: str, tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", *beside)
    for text in (str(tmp_path), str(tmp_path / "*")):
        (address,) = find_addresses(text)
        assert [Path(file).name for file in address.files] == ["a.jpg"]
        assert address.unread.partition("; ")[0] == (f"{text}: not read: {said}" if said else "")
        assert ("to JPEG" in address.unread) == ("kinds" in said)
        assert ("'photos/**/*.jpg'" in address.unread) == ("subfolder" in said)


def test_what_a_glob_reads_or_leaves_out_is_not_told(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.heic", "day2/b.jpg", "day2/rgb/c.jpg")
    (tmp_path / "day2" / "again").symlink_to(".")
    for glob in ("*.jpg", "**/*.jpg", "day2/**"):
        assert [address.unread for address in find_addresses(str(tmp_path / glob))] == [""]


def test_nothing_but_what_is_not_read_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "b.heic", "day2/b.jpg")
    with pytest.raises(SourceError, match=r"not read: 1 file of other kinds \(.heic\) and 1 subfolder .* JPEG; name "):
        find_addresses(str(tmp_path))


def test_a_glob_through_links_gives_each_file_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "sub/b.jpg", "sub/c.mp4")
    (tmp_path / "sub" / "0-up").symlink_to("..")
    (tmp_path / "0.jpg").symlink_to("0.jpg")
    (tmp_path / "again.jpg").symlink_to("sub/b.jpg")
    photos, video = find_addresses(str(tmp_path / "**/*.*"))
    names = [str(Path(file).relative_to(tmp_path)) for file in photos.files]
    assert names == ["0.jpg", "a.jpg", "again.jpg"], "by the shortest path"
    assert video.text == str(tmp_path / "sub" / "c.mp4")


def test_a_file_with_wildcards_in_its_name_is_that_file(tmp_path: Path, photo: Callable[..., Path]) -> None:
    path = photo("crack[1].png")
    (address,) = find_addresses(str(path))
    assert address.files == (str(path),)


@given(st.lists(st.text(min_size=1, max_size=8), unique=True))
def test_order_is_total_and_stable(names: list[str]) -> None:
    assert in_order(names) == in_order(list(reversed(names)))


def test_order_is_that_of_people() -> None:
    assert in_order(["f10", "f2", "F1", "f02", "a", "10", "9"]) == ["9", "10", "a", "F1", "f02", "f2", "f10"]


@given(st.text(max_size=200))
def test_folder_names_are_safe(text: str) -> None:
    name = folder_name(text)
    assert name
    assert not set(name) & set('/\\:*?"<>|\0 \n')
    assert not name.startswith(".")


@given(
    user=st.from_regex(r"[a-z]{1,6}", fullmatch=True),
    secret=st.from_regex(r"[A-Z0-9]{4,12}", fullmatch=True),
    path=st.from_regex(r"[a-z/]{0,8}", fullmatch=True),
)
def test_passwords_never_show(user: str, secret: str, path: str) -> None:
    shown = without_secrets(f"rtsp://{user}:{secret}@host:554/{path}?channel=1&api_key={secret}")
    assert secret not in shown
    assert shown.startswith(f"rtsp://{user}:***@host:554/{path}?channel=1&")
    assert without_secrets(f"C:/{secret}:x@y") == f"C:/{secret}:x@y"


def test_passwords_in_a_pipeline_never_show() -> None:
    shown = without_secrets("gst:rtspsrc location=rtsp://me:HUSH@host/cam user-pw=HUSH latency=0 ! decodebin")
    assert shown == "gst:rtspsrc location=rtsp://me:***@host/cam user-pw=*** latency=0 ! decodebin"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:p@ss:w@10.0.0.5/cam", "rtsp://admin:***@10.0.0.5/cam"),
        ("rtsp://10.0.0.5/s?user=a&pw=geheim", "rtsp://10.0.0.5/s?user=a&pw=***"),
        ("rtsp://10.0.0.5/user=admin&password=abc&channel=1", "rtsp://10.0.0.5/user=admin&password=***&channel=1"),
        (
            "rtsp://10.0.0.5/user=admin_password=abc_channel=1.sdp",
            "rtsp://10.0.0.5/user=admin_password=***_channel=1.sdp",
        ),
    ],
)
def test_passwords_where_cameras_have_them(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
    (address,) = find_addresses(url)
    assert not {"ss", "abc", "geheim"} & set(re.split(r"\W|_", address.name))
