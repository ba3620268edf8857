"""Versions of installed packages, against what importlib.metadata says of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from crackedge.edge_runtime import packages
from crackedge.edge_runtime.packages import installed_version


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, first."""
    monkeypatch.syspath_prepend(tmp_path)
    packages._versions.cache_clear()
    yield tmp_path
    packages._versions.cache_clear()


@pytest.mark.parametrize("package", ["numpy", "opencv-python-headless", "av", "pillow", "ai-edge-litert", "crackedge"])
def test_says_what_the_metadata_say(package: str) -> None:
    assert installed_version(package) == metadata.version(package)


def test_is_none_where_there_is_no_such_package() -> None:
    assert installed_version("no-such-package") is None


@pytest.mark.parametrize("folder", ["Some.Thing-1.2.3rc1+local.dist-info", "some_thing-1.2.3rc1+local-py3.11.egg-info"])
def test_names_are_spelled_in_several_ways(place: Path, folder: str) -> None:
    (place / folder).mkdir()
    assert installed_version("some-thing") == installed_version("Some_Thing") == "1.2.3rc1+local"


def test_the_first_on_the_path_counts(place: Path) -> None:
    (place / "numpy-0.0.1.dist-info").mkdir()
    assert installed_version("numpy") == "0.0.1"


def test_a_path_with_what_is_no_folder_is_read_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(place / "absent.zip"), *sys.path])
    assert installed_version("numpy") == metadata.version("numpy")
