from __future__ import annotations

import json
from pathlib import Path

import pytest

from crackedge.benchmarks.program import errors_in_a_line, write_figures
from crackedge.edge_runtime.errors import DataError, ProofError


@pytest.mark.parametrize(
    ("error", "code"), [(DataError("no data"), 1), (OSError("disk full"), 1), (ProofError("no"), 5)]
)
def test_a_failure_is_a_line_and_an_exit_code(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, errors_in_a_line():
        raise error
    assert end.value.code == code
    assert capsys.readouterr().err == f"Error: {error}\n"


def test_faults_of_our_own_are_not_hidden() -> None:
    with pytest.raises(KeyError), errors_in_a_line():
        raise KeyError("a bug")


def test_figures_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    write_figures(None, {"n": 1})
    write_figures(tmp_path / "figures.json", {"n": 1})
    assert json.loads((tmp_path / "figures.json").read_text(encoding="utf-8")) == {"n": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
