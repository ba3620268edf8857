"""What the wheel and the sdist hold, built from the tree as it stands."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from email import message_from_string
from pathlib import Path, PurePosixPath

import pytest
import tomllib
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS = ("benchmarks", "edge_runtime", "export", "train")

Members = dict[str, bytes]


def tracked() -> list[str]:
    """Files of the tree: what git has, and what it would be given."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git repository")
    return sorted(name for name in listed.stdout.split("\0") if name and (REPOSITORY / name).exists())


def build(tree: Path, out: Path, *kinds: str) -> None:
    """Sdist and wheel of a tree, as everybody builds them; the wheel from the sdist unless kinds say otherwise."""
    has_backend = int(importlib.metadata.version("setuptools").partition(".")[0]) >= 77  # else build fetches it
    isolation = ["--no-isolation"] if has_backend else []
    command = [sys.executable, "-m", "build", *isolation, "--outdir", str(out), *kinds, str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def wheel_in(folder: Path) -> Members:
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as members:
        return {name: members.read(name) for name in members.namelist()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, as a clone has it: links stay links."""
    copy = tmp_path_factory.mktemp("packaging") / "tree"
    for name in tracked():
        original, target = REPOSITORY / name, copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if original.is_symlink():
            target.symlink_to(original.readlink())
        else:
            target.write_bytes(original.read_bytes())
    for stray in ("runs", "dist", "build"):  # what working in a tree leaves in it
        (copy / stray).mkdir(parents=True)
        (copy / stray / "stray.py").write_text("")
    (copy / "runs" / "results.jsonl").write_text("")
    return copy


@pytest.fixture(scope="module")
def from_sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an sdist, and of the wheel that was built from it."""
    out = tmp_path_factory.mktemp("from-sdist")
    build(tree, out)
    return out


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Members:
    """What is in a wheel built from the tree."""
    out = tmp_path_factory.mktemp("wheel")
    build(tree, out, "--wheel")
    return wheel_in(out)


def of_the_package(names: Iterable[str]) -> dict[str, Path]:
    """Where each file of the package lies in the repository, by its name in the wheel. Prose stays at home."""
    found = {}
    for name in names:
        path = PurePosixPath(name)
        if path.suffix == ".md" or (REPOSITORY / name).is_symlink():
            continue
        if path.parts[0] in ROOMS:
            found[f"crackedge/{name}"] = REPOSITORY / name
        elif path.parts[:2] == ("src", "crackedge"):
            found[name.removeprefix("src/")] = REPOSITORY / name
    return found


def test_the_wheel_holds_every_file_of_the_four_rooms_and_nothing_else(wheel: Members) -> None:
    expected = {name: path.read_bytes() for name, path in of_the_package(tracked()).items()}
    held = {name: data for name, data in wheel.items() if ".dist-info/" not in name}
    assert set(held) ^ set(expected) == set()
    assert [name for name, data in held.items() if data != expected[name]] == []


def test_the_wheel_holds_what_is_found_by_name(wheel: Members) -> None:
    assert "crackedge/py.typed" in wheel
    assert "crackedge/train/recipes/nano.toml" in wheel
    assert "crackedge/train/recipes/data/crackedge.toml" in wheel
    assert wheel["crackedge/edge_runtime/models/nano.tflite"][4:8] == b"TFL3"
    for room in ROOMS:
        assert f"crackedge/{room}/__init__.py" in wheel
    (entry_points,) = (data for name, data in wheel.items() if name.endswith("/entry_points.txt"))
    assert b"crackedge = crackedge.cli:main" in entry_points


def test_the_sdist_holds_the_rooms_as_files_and_makes_the_same_wheel(from_sdist: Path, wheel: Members) -> None:
    (file,) = from_sdist.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        members = {member.name.partition("/")[2]: member for member in archive.getmembers()}
        assert all(member.isfile() or member.isdir() for member in members.values())
        names = {name for name, member in members.items() if member.isfile()}
        data = {name: archive.extractfile(members[name]).read() for name in names}  # type: ignore[union-attr]
    package = {f"src/{name}": path for name, path in of_the_package(tracked()).items()}
    assert set(package) - names == set()
    made = {"PKG-INFO", "setup.cfg"} | {name for name in names if ".egg-info/" in name}
    assert names - made - set(package) - set(tracked()) == set()
    for name in names - made:  # all of it is the repository's, and nothing from beside it
        assert data[name] == package.get(name, REPOSITORY / name).read_bytes(), name
    again = wheel_in(from_sdist)
    assert [name for name in {*again, *wheel} if again.get(name) != wheel.get(name)] == []


def test_the_door_holds_relative_links_to_the_rooms() -> None:
    for room in ROOMS:
        link = REPOSITORY / "src" / "crackedge" / room
        assert link.is_symlink()
        assert link.readlink() == Path("../..") / room


def test_no_link_leads_out_of_the_tree() -> None:
    links = [REPOSITORY / name for name in tracked() if (REPOSITORY / name).is_symlink()]
    assert len(links) >= len(ROOMS)
    for link in links:
        assert link.resolve().is_relative_to(REPOSITORY), link


def test_the_version_is_one(from_sdist: Path) -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert {file.name for file in from_sdist.iterdir()} == {
        f"crackedge-{version}.tar.gz",
        f"crackedge-{version}-py3-none-any.whl",
    }
    metadata = wheel_in(from_sdist)[f"crackedge-{version}.dist-info/METADATA"].decode()
    assert f"\nVersion: {version}\n" in metadata
    assert importlib.metadata.version("crackedge") == version, "installed from another version: install it again"


def test_the_base_install_asks_for_no_workstation_package(from_sdist: Path) -> None:
    (metadata,) = (data.decode() for name, data in wheel_in(from_sdist).items() if name.endswith("/METADATA"))
    required = message_from_string(metadata).get_all("Requires-Dist", [])
    base = {Requirement(text).name for text in required if "extra ==" not in text}
    assert base == {"numpy", "opencv-python-headless", "pillow", "click", "av", "ai-edge-litert"}
