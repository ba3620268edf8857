from __future__ import annotations

import sys
from pathlib import Path

import pytest

from crackedge.benchmarks.peers import environment
from crackedge.benchmarks.peers.environment import environment_folder, environment_python, is_made, requirements
from crackedge.edge_runtime.errors import MissingExtraError


def test_the_loop_needs_no_environment(tmp_path: Path) -> None:
    assert environment_python("naive", root=tmp_path) == Path(sys.executable)
    assert list(tmp_path.iterdir()) == []


def test_every_library_is_pinned_and_has_this_process_interpreter() -> None:
    pytest.importorskip("ai_edge_litert")
    from importlib.metadata import version

    for peer in environment.REQUIREMENTS:
        wanted = requirements(peer)
        assert all("==" in one for one in wanted if not one.startswith("opencv"))
        assert f"ai-edge-litert=={version('ai-edge-litert')}" in wanted


def test_what_cannot_be_installed_is_named_and_not_taken_for_made(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"^peer sahi: cannot be installed here \(.*ai-edge-litert") as caught:
        environment_python("sahi", root=tmp_path, pip=["--no-index", "--find-links", str(tmp_path / "nowhere")])
    assert "\n" not in str(caught.value)
    assert not is_made(environment_folder("sahi", root=tmp_path))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingExtraError, match=r"peer openvino: .* cannot be made"):
        environment_python("openvino", root=tmp_path / "file")


def test_an_environment_is_made_once_and_anew_when_its_pins_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(peer: str, command: list[str]) -> None:
        commands.append(command)
        if "venv" in command:
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.write_text("")

    monkeypatch.setattr(environment, "_command", run)
    first = environment_python("sahi", root=tmp_path)
    assert environment_python("sahi", root=tmp_path) == first
    assert len(commands) == 2
    assert commands[1][0] == str(first)
    assert commands[1][-1] == environment.REQUIREMENTS["sahi"][-1]
    monkeypatch.setitem(environment.REQUIREMENTS, "sahi", ("sahi==1.2.3",))
    assert environment_python("sahi", root=tmp_path) != first
    assert len(commands) == 4
