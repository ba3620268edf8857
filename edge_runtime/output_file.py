"""Output files: nothing is overwritten unasked, and a file is there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from crackedge.edge_runtime.errors import OutputError


def require_free(path: Path, *, option: str = "-o", overwrite: bool | None = False) -> None:
    """Refuse a place that cannot take a new file, before anybody works for it.

    Args:
        path: the file to be written.
        option: of the command line, that names another place.
        overwrite: whether a file there may be replaced; None where that cannot be asked for.

    Raises:
        OutputError: there is no such folder, or the file exists.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: no such folder; make it, or give another {option}")
    if path.exists() and not overwrite:
        ask = "" if overwrite is None else ", or --overwrite"
        raise OutputError(f"{path}: exists already; give another {option}{ask}")


@contextlib.contextmanager
def as_output_error(path: Path, *further: type[Exception]) -> Iterator[None]:
    """Turn errors of the system, and further ones that name theirs, into one with the path, the reason, what to do."""
    kinds: tuple[type[Exception], ...] = (OSError, *further)
    try:
        yield
    except kinds as error:
        if isinstance(error, OutputError):
            raise
        number, text = getattr(error, "errno", None), getattr(error, "strerror", None)
        reason = text or str(error) or type(error).__name__
        hint = {
            errno.ENOSPC: "free some space",
            errno.EACCES: "give a folder that you may write to",
            errno.EROFS: "give a folder that can be written to",
        }.get(number or 0, "check the disk and the folder")
        raise OutputError(f"{path}: cannot be written ({reason}); {hint}") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write to; it takes its place on disk when the block ends well, and vanishes otherwise.

    Raises:
        OutputError: it cannot be written: the disk is full, say. What was there before is still there.
    """
    part = path.with_name(f".{path.stem}.part{path.suffix}")  # the suffix tells Keras and NumPy what to write
    try:
        with as_output_error(path):
            yield part
            with part.open("rb") as written:
                os.fsync(written.fileno())
            part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
