from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from crackedge.benchmarks.readme import TABLES, main, rewrite
from crackedge.edge_runtime.errors import DataError

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_readmes_tables_are_those_of_the_shipped_files() -> None:
    text = README.read_text()
    assert all(f"<!-- table: {name} -->" in text for name in TABLES)
    assert rewrite(text) == text, "python -m crackedge.benchmarks.readme README.md"


def test_an_old_table_is_replaced_and_the_rest_is_left_alone(tmp_path: Path) -> None:
    stale = tmp_path / "README.md"
    stale.write_text("before\n<!-- table: accuracy -->\nold\n<!-- end -->\nafter\n")
    assert CliRunner().invoke(main, [str(stale), "--check"]).exit_code == 5
    assert "old" in stale.read_text()
    assert CliRunner().invoke(main, [str(stale)]).exit_code == 0
    text = stale.read_text()
    assert text.startswith("before\n<!-- table: accuracy -->\n| model |")
    assert text.endswith("|\n<!-- end -->\nafter\n")
    assert "old" not in text
    assert CliRunner().invoke(main, [str(stale), "--check"]).exit_code == 0


def test_an_unknown_table_is_named() -> None:
    with pytest.raises(DataError, match="'prices'"):
        rewrite("<!-- table: prices -->\n<!-- end -->")
