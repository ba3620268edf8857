"""Result folders: where a run writes, and what it may replace.

A folder is ours when its ``results.jsonl`` begins with a header, or when it holds nothing but parts: such folders that
one run over several sources made. The results of an earlier run stay until those of the new one are complete; what an
interrupted run left behind stays for good.
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
_LONGEST_LINE = 1 << 20  # bytes, of a header or a summary
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
    beside them and take their place at the end, if :meth:`keep` was called. Only complete results make way for them:
    those of an interrupted run move to an ``unfinished`` folder of their own, and those that lie in one already are
    left alone, as are other files. A run that wrote no frame leaves nothing behind.

    Args:
        folder: where the results are to be.
        reading: files that the run reads, which must not lie in there.
        resume: whether to write where the last run over the same sources wrote, finished or not.
        onward: whether to write where finished results are to be, among what earlier runs left there; for outputs in
            parts, which take it for their oldest.

    Attributes:
        path: where to write; after the end, where the results are.

    Raises:
        OutputError: it is a file, holds something that is not ours, cannot be written to, or another run writes there.
    """

    def __init__(
        self, folder: Path, *, reading: Iterable[Path] = (), resume: bool = False, onward: bool = False
    ) -> None:
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
            self.path = next(_free(folder / UNFINISHED)) if self._had_results else folder
            if self._had_results and (resume or onward):
                self.path = _newest(folder) if resume else folder
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
        replaced = self._folder / _REPLACED
        shutil.rmtree(replaced, ignore_errors=True)
        aside = replaced if _is_complete(self._folder) else next(_free(self._folder / UNFINISHED))
        aside.mkdir()
        for entry in _own_entries(self._folder):
            entry.rename(aside / entry.name)
        for entry in list(self.path.iterdir()):
            entry.rename(self._folder / entry.name)
        self.path.rmdir()
        self.path = self._folder
        if aside == replaced:
            shutil.rmtree(replaced)


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
    """Remove what a run wrote to a folder, and its parts; the folder stays, and what interrupted runs left in it.

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
    return [entry for entry in folder.iterdir() if (mine and _OURS.fullmatch(entry.name)) or _is_part(entry)]


def _header(folder: Path) -> dict[str, Any] | None:
    """The first line of a folder's results, if it is a header; empty where a full disk left nothing of it.

    Of results in parts that were cut off between two of them, that of a part.
    """
    parts = (file for file in folder.glob("results-*.jsonl") if _OURS.fullmatch(file.name))
    headers = map(_header_in, itertools.chain([folder / RESULTS], parts))
    return next((header for header in headers if header is not None), None)


def _header_in(results: Path) -> dict[str, Any] | None:
    try:
        with results.open("rb") as lines:
            line = lines.readline(_LONGEST_LINE)
    except OSError:
        return None
    if not line:
        return {}
    record = _record(line)
    return record if record.get("type") == "header" and "schema" in record else None


def _is_complete(folder: Path) -> bool:
    """Whether the results in a folder, and those of all its parts, are of runs that came to their end."""
    places = [folder, *filter(_is_part, folder.iterdir())]
    return all(_came_to_end(place, header) for place in places if (header := _header(place)) is not None)


def _came_to_end(folder: Path, header: dict[str, Any]) -> bool:
    """Whether the last record says what :attr:`crackedge.edge_runtime.tally.Summary.complete` does."""
    last = _last_record(folder / RESULTS)
    told_to = bool(header.get("source", {}).get("live")) and last.get("reason") == "interrupted"
    ended = last.get("type") == "summary" and (told_to or last.get("reason") in ("end", "max-frames"))
    return ended and not last.get("lost_outputs")


def _last_record(results: Path) -> dict[str, Any]:
    """The last line of results; empty where there is none, or it is not whole."""
    try:
        with results.open("rb") as lines:
            lines.seek(max(0, results.stat().st_size - _LONGEST_LINE))
            end = lines.read()
    except OSError:
        return {}
    return _record(end.removesuffix(b"\n").rpartition(b"\n")[2]) if end.endswith(b"\n") else {}


def _record(line: bytes) -> dict[str, Any]:
    """What a line of results says; empty where it is none."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _is_part(folder: Path) -> bool:
    header = _header(folder)
    return header is not None and header.get("part") == folder.name


def _is_unfinished(folder: Path) -> bool:
    return bool(_UNFINISHED.fullmatch(folder.name)) and folder.is_dir() and is_result_folder(folder)


def _newest(folder: Path) -> Path:
    """Where the last run wrote: the folder itself, or one of those for unfinished results in it."""
    return max((*filter(_is_unfinished, folder.iterdir()), folder), key=_written_s)


def _written_s(folder: Path) -> float:
    """When a record was last written to a folder of results or its parts; 0 where there is none."""
    found = (folder / RESULTS, *(part / RESULTS for part in folder.iterdir() if _is_part(part)))
    return max((results.stat().st_mtime for results in found if results.exists()), default=0.0)


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
