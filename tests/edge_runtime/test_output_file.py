from __future__ import annotations

import errno
from pathlib import Path

import pytest

from crackedge.edge_runtime.errors import OutputError
from crackedge.edge_runtime.output_file import replacing, require_free


def test_a_place_that_is_taken_or_missing_is_refused(tmp_path: Path) -> None:
    taken = tmp_path / "m.tflite"
    require_free(taken)
    taken.write_bytes(b"before")
    with pytest.raises(OutputError, match=r"m\.tflite: exists already; give another -o, or --overwrite$"):
        require_free(taken)
    require_free(taken, overwrite=True)
    with pytest.raises(OutputError, match=r"exists already; give another --pack$"):
        require_free(taken, option="--pack", overwrite=None)
    with pytest.raises(OutputError, match=r"absent: no such folder; make it, or give another -o$"):
        require_free(tmp_path / "absent" / "m.tflite", overwrite=True)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"before")
    with pytest.raises(OutputError, match=r"m\.tflite: cannot be written \(No space left on device\)"), replacing(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(KeyError):
        _cut_off(path)
    assert path.read_bytes() == b"before"
    with replacing(path) as part:
        part.write_bytes(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


def _cut_off(path: Path) -> None:
    with replacing(path) as part:
        part.write_bytes(b"half")
        raise KeyError
