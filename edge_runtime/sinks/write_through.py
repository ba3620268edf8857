"""Write-through: files that grow are put on the disk while they do, so that a power loss takes little of them."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

_EVERY_S = 0.5
_LAST_S = 0.5  # for what was written at the very end; a disk that is slower holds up nobody


@contextlib.contextmanager
def written_through(folder: Path) -> Iterator[None]:
    """Have the system write the files in a folder to the disk twice a second, where it would wait for half a minute.

    A thread does it, so that a slow disk holds up no output. What cannot be written is for those to say who write it.

    Args:
        folder: what is in its subfolders is left out.
    """
    leaving = threading.Event()

    def sync() -> None:
        done: dict[str, tuple[int, int]] = {}
        while not leaving.wait(_EVERY_S):
            _sync_changed(folder, done)
        _sync_changed(folder, done)

    thread = threading.Thread(target=sync, name="write-through", daemon=True)
    thread.start()
    try:
        yield
    finally:
        leaving.set()
        thread.join(_LAST_S)


def _sync_changed(folder: Path, done: dict[str, tuple[int, int]]) -> None:
    """Put on the disk what changed since it was ``done`` last, by modification times and lengths."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            state = entry.stat().st_mtime_ns, entry.stat().st_size
            if entry.is_file() and done.get(entry.name) != state:
                file = os.open(entry.path, os.O_RDONLY)
                try:
                    os.fsync(file)
                finally:
                    os.close(file)
                done[entry.name] = state
