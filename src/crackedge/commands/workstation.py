"""The extra that training and export need."""

from __future__ import annotations

import os
from importlib.util import find_spec


def require_workstation(command: str) -> None:
    """Turn a missing TensorFlow into the line to type."""
    from crackedge.edge_runtime.errors import MissingExtraError
    from crackedge.edge_runtime.native_log import captured

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend = os.environ.get("KERAS_BACKEND", "tensorflow") if command == "train" else "tensorflow"
    needed = ("keras", backend)
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"`crackedge {command}` needs {', '.join(missing)}: pip install 'crackedge[train]'")
    with captured():  # start-up notes about processors and missing GPUs
        import keras

        keras.ops.zeros(1)
