from __future__ import annotations

from crackedge.benchmarks.table import aligned


def test_words_stand_left_and_figures_right() -> None:
    text = aligned(["set", "n", "AUC"], [["metu", 1000, 0.99951], ["a", 7, None]], digits=2)
    assert text.splitlines() == ["set      n   AUC", "metu  1000  1.00", "a        7     -"]


def test_a_table_without_rows_has_its_header() -> None:
    assert aligned(["set", "n"], []) == "set  n"
