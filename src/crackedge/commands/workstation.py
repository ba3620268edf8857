"""The extra that training and export need."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

_BACKENDS = ("tensorflow", "jax", "torch")


def require_workstation(command: str, *, resumed: Path | None = None) -> None:
    """Turn a missing TensorFlow into the line to type, and start the one that is there.

    Training on a CPU uses its oneDNN kernels, unless somebody has set ``TF_ENABLE_ONEDNN_OPTS``; by itself TensorFlow
    leaves them aside on processors without AVX-512. They round differently, so a run is resumed as it began. An export
    uses TensorFlow whatever ``KERAS_BACKEND`` says.

    Args:
        command: its name.
        resumed: the folder of the run that it goes on with, if any.

    Raises:
        DataError: that is no run folder.
        MissingExtraError: packages are missing.
        OptionError: ``KERAS_BACKEND`` names no backend.
    """
    from crackedge.edge_runtime.errors import MissingExtraError, OptionError
    from crackedge.edge_runtime.native_log import captured

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if command == "export":  # the converter's; it reads what any backend trained
        os.environ["KERAS_BACKEND"] = "tensorflow"
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend not in _BACKENDS:
        raise OptionError(f"KERAS_BACKEND={backend!r}: expected {', '.join(_BACKENDS[:-1])} or {_BACKENDS[-1]}")
    missing = [name for name in ("keras", backend) if find_spec(name) is None]
    if missing:
        comes_with = "'crackedge[train]'" if backend == "tensorflow" or "keras" in missing else backend
        raise MissingExtraError(f"`crackedge {command}` needs {', '.join(missing)}: pip install {comes_with}")
    if command == "train" and (onednn := _onednn(resumed)) is not None:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", onednn)
    with captured():  # start-up notes about processors and missing GPUs
        import keras

        keras.ops.zeros(1)


def _onednn(resumed: Path | None) -> str | None:
    """Whether to train with oneDNN; None for a run that began as TensorFlow chose."""
    if resumed is None:
        return "1"
    from crackedge.train.run_folder import read_config

    return read_config(resumed).get("onednn")
