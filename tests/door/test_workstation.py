from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from crackedge.commands.workstation import require_workstation
from crackedge.edge_runtime.errors import DataError, MissingExtraError, OptionError

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
# Stands where Keras is looked for, and tells what it finds as it is imported: TensorFlow looks only then.
KERAS = f"""
import os, pathlib
pathlib.Path(os.environ["SEEN"]).write_text(f"{{os.environ.get('{ONEDNN}')}} {{os.environ.get('KERAS_BACKEND')}}")
class ops:
    zeros = int
"""


def _seen(
    tmp_path: Path, command: str, *, resumed: Path | None = None, chosen: str | None = None, backend: str | None = None
) -> list[str]:
    """What Keras sees of oneDNN, and of its backend, when a command starts it."""
    for package, text in (("keras", KERAS), ("tensorflow", ""), ("jax", "")):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(text)
    inherited = {name: value for name, value in os.environ.items() if name not in (ONEDNN, "KERAS_BACKEND")}
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**inherited, "PYTHONPATH": paths, "SEEN": str(tmp_path / "seen")}
    environment |= {} if chosen is None else {ONEDNN: chosen}
    environment |= {} if backend is None else {"KERAS_BACKEND": backend}
    folder = None if resumed is None else str(resumed)
    code = (
        "from pathlib import Path; from crackedge.commands.workstation import require_workstation; "
        f"require_workstation({command!r}, resumed={folder!r} and Path({folder!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (tmp_path / "seen").read_text().split()


def test_training_has_onednn_switched_on_before_tensorflow_is_there(tmp_path: Path) -> None:
    assert _seen(tmp_path, "train")[0] == "1"


def test_a_user_s_own_choice_wins(tmp_path: Path) -> None:
    assert _seen(tmp_path, "train", chosen="0")[0] == "0"


def test_an_export_leaves_it_to_tensorflow(tmp_path: Path) -> None:
    assert _seen(tmp_path, "export")[0] == "None"


@pytest.mark.parametrize(("command", "started"), [("train", "jax"), ("export", "tensorflow")])
def test_a_backend_that_somebody_chose_is_for_training(tmp_path: Path, command: str, started: str) -> None:
    assert _seen(tmp_path, command, backend="jax")[1] == started


@pytest.mark.parametrize("config", [{"onednn": "0"}, {"onednn": None}, {}])
def test_a_run_goes_on_as_it_began(tmp_path: Path, config: dict[str, str | None]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps(config))
    assert _seen(tmp_path, "train", resumed=run)[0] == str(config.get("onednn"))


def test_a_backend_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "nix")
    with pytest.raises(OptionError, match="KERAS_BACKEND='nix': expected tensorflow, jax or torch"):
        require_workstation("train")


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
def test_a_backend_that_is_not_installed_is_no_part_of_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("keras", reason="the workstation's packages are not installed")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(MissingExtraError, match=r"needs torch: pip install torch$"):
        require_workstation("train")


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="the workstation's packages are not installed")
    with pytest.raises(DataError, match="not the folder of a training run"):
        require_workstation("train", resumed=tmp_path)
