"""Result folders: where a run writes, and what it may replace.

A folder is ours when its ``results.jsonl`` begins with a header, or when it holds nothing but parts: such folders that
one run over several sources made. The results of an earlier run stay until those of the new one are complete.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from crackedge.edge_runtime.errors import OutputError

if TYPE_CHECKING:
    from typing import Self

RESULTS = "results.jsonl"
MARKED_VIDEO = "marked.mp4"
MARKED_IMAGES = "marked"
UNFINISHED = "unfinished"

_REPLACED = ".replaced"
_OURS = re.compile(r"results(-\d{6,})?\.jsonl|marked(-\d+|\.segment-\d+|\.joined(-\d+)?)?\.mp4|marked")
_UNFINISHED = re.compile(rf"{UNFINISHED}(-\d+)?")


def default_folder(name: str, *, now: datetime, root: Path = Path("runs")) -> Path:
    """``runs/NAME-YYYYmmdd-HHMMSS``, with a number after it where that is taken."""
    stem = f"{name}-{now:%Y%m%d-%H%M%S}"
    numbered = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    return next(root / candidate for candidate in numbered if not (root / candidate).exists())


class ResultFolder:
    """The folder of a run. A context manager.

    A new or empty folder is written to directly. In one with earlier results, the new ones grow in ``unfinished/``
    beside them and take their place at the end, if :meth:`keep` was called; other files in there are left alone. A run
    that wrote no frame leaves nothing behind.

    Args:
        folder: where the results are to be.
        reading: files that the run reads, which must not lie in there.
        resume: whether to write where the last run over the same sources wrote, finished or not.

    Attributes:
        path: where to write; after the end, where the results are.

    Raises:
        OutputError: it is a file, holds something that is not ours, cannot be written to, or another run writes there.
    """

    def __init__(self, folder: Path, *, reading: Iterable[Path] = (), resume: bool = False) -> None:
        self._folder = folder
        with _as_output_error(folder):
            if folder.exists() and not folder.is_dir():
                raise OutputError(f"{folder}: a file; give a folder for the results")
            self._had_results = folder.is_dir() and is_result_folder(folder)
            if folder.is_dir() and not self._had_results and any(folder.iterdir()):
                raise OutputError(
                    f"{folder}: holds files that are not results of crackedge; give a new or empty folder, or empty it"
                )
            inside = folder.resolve()
            for file in reading:
                if inside in file.resolve().parents:
                    raise OutputError(f"{folder}: the source {file} lies in it; give another folder for the results")
            unfinished = sorted(filter(_is_unfinished, folder.iterdir()), key=_age) if self._had_results else []
        self.path = next(_free(folder / UNFINISHED)) if self._had_results else folder
        if resume and self._had_results:
            self.path = unfinished[0] if unfinished else folder
            self._had_results = self.path != folder
        self._made: list[Path] = []
        self._keep = False
        self._lock: int | None = None

    def __enter__(self) -> Self:
        with _as_output_error(self._folder):
            missing = [folder for folder in (self.path, *self.path.absolute().parents) if not folder.exists()]
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self._folder)
            self.path.mkdir(exist_ok=True)
            self._made = missing
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not has_frames(self.path):
                with contextlib.suppress(OSError):  # what cannot be tidied up stays
                    discard(self.path)
                    for folder in self._made:
                        folder.rmdir()
            elif self._had_results and self._keep:
                with _as_output_error(self._folder):
                    self._replace()
        finally:
            if self._lock is not None:
                os.close(self._lock)

    def keep(self) -> None:
        """Let the new results take the place of earlier ones at the end."""
        self._keep = True

    def _replace(self) -> None:
        aside = self._folder / _REPLACED
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for entry in _own_entries(self._folder):
            if entry != self.path:
                entry.rename(aside / entry.name)
        for entry in list(self.path.iterdir()):
            entry.rename(self._folder / entry.name)
        self.path.rmdir()
        self.path = self._folder
        shutil.rmtree(aside)


def is_result_folder(folder: Path) -> bool:
    """Whether a folder holds results of a run, finished or not, and may be replaced by another's."""
    if _header(folder) is not None:
        return True
    entries = list(folder.iterdir())
    return bool(entries) and all(_is_part(entry) or _is_unfinished(entry) for entry in entries)


def has_frames(folder: Path) -> bool:
    """Whether results of at least one frame are in a folder or its parts."""
    for results in (folder / RESULTS, *folder.glob(f"*/{RESULTS}")):
        with contextlib.suppress(OSError), results.open("rb") as lines:
            if sum(1 for _ in itertools.islice(lines, 2)) == 2:
                return True
    parts = ("results-*.jsonl", "marked*.mp4")
    marked = (file for part in parts for where in (part, f"*/{part}") for file in folder.glob(where))
    return any(file.stat().st_size for file in (*marked, *folder.glob(f"{MARKED_IMAGES}/*")))


def discard(folder: Path) -> None:
    """Remove what a run wrote to a folder, and its parts; the folder stays.

    Raises:
        OSError: something cannot be removed.
    """
    for entry in _own_entries(folder) if folder.is_dir() else ():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _own_entries(folder: Path) -> list[Path]:
    mine = _header(folder) is not None
    return [
        entry
        for entry in folder.iterdir()
        if (mine and _OURS.fullmatch(entry.name)) or _is_part(entry) or _is_unfinished(entry)
    ]


def _header(folder: Path) -> dict[str, Any] | None:
    """The first line of a folder's results, if it is a header; empty where a full disk left nothing of it."""
    try:
        with (folder / RESULTS).open("rb") as lines:
            line = lines.readline(1 << 20)
            if not line:
                return {}
            record = json.loads(line)
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("type") == "header" and "schema" in record else None


def _is_part(folder: Path) -> bool:
    header = _header(folder)
    return header is not None and header.get("part") == folder.name


def _is_unfinished(folder: Path) -> bool:
    return bool(_UNFINISHED.fullmatch(folder.name)) and folder.is_dir() and is_result_folder(folder)


def _age(folder: Path) -> float:
    return -folder.stat().st_mtime


def _locked(folder: Path) -> int | None:
    """A descriptor whose closing lets the next run in; None where the system or the disk knows no locks."""
    try:
        import fcntl
    except ImportError:
        return None
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise OutputError(f"{folder}: another run writes there; wait for its end, or give another folder") from None
    except OSError:
        os.close(lock)
        return None
    return lock


def _free(path: Path) -> Iterator[Path]:
    numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return (candidate for candidate in itertools.chain([path], numbered) if not candidate.exists())


@contextlib.contextmanager
def _as_output_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror or error}); give a folder on a disk that you may write to"
        ) from error
