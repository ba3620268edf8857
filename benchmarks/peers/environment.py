"""Environments of the peers: one each under the user's cache directory, made on first use, with pinned versions."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from crackedge.edge_runtime.errors import MissingExtraError

# Libraries that bring an OpenCV of their own are left theirs; the others are given ours.
REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "supervision": ("supervision==0.31.2", "opencv-python-headless"),
    "sahi": ("sahi==0.12.8",),
    "openvino": ("openvino==2026.4.1",),
}

_MADE = "crackedge-made"  # a file that stands in an environment once all is installed
_INSTALL_S = 600.0


def requirements(peer: str) -> list[str]:
    """What is installed for a peer: its own pins, and the interpreter and packages of this process at its versions.

    Raises:
        MissingExtraError: this process has no LiteRT, so that nothing could be compared.
    """
    try:
        litert = importlib.metadata.version("ai-edge-litert")
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingExtraError(
            f"peer {peer}: compared with the same interpreter, and ai-edge-litert is not installed; install it"
        ) from error
    own = [requirement if "==" in requirement else _as_here(requirement) for requirement in REQUIREMENTS[peer]]
    return [f"ai-edge-litert=={litert}", _as_here("numpy"), *own]


def environment_folder(peer: str, *, root: Path | None = None) -> Path:
    """Where a peer's environment is, or would be made."""
    identity = "\n".join([sys.version, *requirements(peer)]).encode()
    return (root or _cache_root()) / f"{peer}-{hashlib.sha256(identity).hexdigest()[:12]}"


def is_made(folder: Path) -> bool:
    """Whether an environment is there, with all that was to be installed."""
    return (folder / _MADE).exists() and _python(folder).exists()


def environment_python(peer: str, *, root: Path | None = None, pip: Sequence[str] = ()) -> Path:
    """The Python of a peer's environment, which is made when it is not there; the loop has none and takes this one.

    Args:
        peer: name of a peer.
        root: where environments are; ``crackedge/peers`` in the user's cache directory unless given.
        pip: further options of ``pip install``.

    Raises:
        MissingExtraError: it cannot be made: no network, no wheel, no room; says why.
    """
    if peer not in REQUIREMENTS:
        return Path(sys.executable)
    folder = environment_folder(peer, root=root)
    python = _python(folder)
    if is_made(folder):
        return python
    wanted = requirements(peer)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _command(peer, [sys.executable, "-m", "venv", str(folder)])
        _command(peer, [str(python), "-m", "pip", "install", "--quiet", *pip, *wanted])
        (folder / _MADE).write_text("\n".join(wanted) + "\n", encoding="utf-8")
    except OSError as error:
        raise MissingExtraError(f"peer {peer}: {folder} cannot be made ({error.strerror or error})") from error
    return python


def _as_here(package: str) -> str:
    try:
        return f"{package}=={importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return package


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _cache_root() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crackedge" / "peers"


def _command(peer: str, command: list[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            command, capture_output=True, text=True, timeout=_INSTALL_S, stdin=subprocess.DEVNULL, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise MissingExtraError(f"peer {peer}: no environment after {_INSTALL_S:g} s; is there a network?") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        reason = next((line for line in lines if line.startswith("ERROR:")), lines[-1])
        raise MissingExtraError(f"peer {peer}: cannot be installed here ({reason.removeprefix('ERROR:').strip()})")
