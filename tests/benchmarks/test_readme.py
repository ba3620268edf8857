from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from crackedge.benchmarks.readme import TABLES, main, rewrite
from crackedge.edge_runtime.errors import DataError
from crackedge.edge_runtime.models.card import ModelCard

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "docs/faults.md", "docs/real-time.md")


def test_each_table_stands_in_a_document() -> None:
    texts = [(ROOT / name).read_text() for name in DOCUMENTS]
    assert all(any(f"<!-- table: {name} -->" in text for text in texts) for name in TABLES)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_tables_are_those_of_the_shipped_files(name: str) -> None:
    text = (ROOT / name).read_text()
    assert rewrite(text) == text, f"python -m crackedge.benchmarks.readme {name}"


def test_an_old_table_is_replaced_and_the_rest_is_left_alone(tmp_path: Path) -> None:
    stale = tmp_path / "README.md"
    stale.write_text("before\n<!-- table: accuracy -->\nold\n<!-- end -->\nafter\n")
    assert CliRunner().invoke(main, [str(stale), "--check"]).exit_code == 5
    assert "old" in stale.read_text()
    assert CliRunner().invoke(main, [str(stale)]).exit_code == 0
    text = stale.read_text()
    assert text.startswith("before\n<!-- table: accuracy -->\n| model |")
    assert text.endswith("\n<!-- end -->\nafter\n")
    assert "old" not in text
    assert CliRunner().invoke(main, [str(stale), "--check"]).exit_code == 0


def test_accuracy_stands_with_its_intervals_where_the_card_has_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, card: Callable[..., ModelCard], write_model: Callable[..., Path]
) -> None:
    keys = ("accuracy", "recall", "false_positive_rate", "auc")
    older = {"n_crack": 4, "n_no_crack": 0, **dict.fromkeys(keys), "recall": 0.75}
    newer = {**older, "recall_interval": [0.31, 0.9523], "auc_interval": None}
    for figures, told in ((older, "| - | 0.750 | - | - |"), (newer, "| - | 0.750 (0.310 to 0.952) | - | - |")):
        made = card(metrics={engine: {"walls": figures} for engine in ("dense", "tiles")})
        path = write_model("logit-map-int8", card=made)
        monkeypatch.setattr("crackedge.benchmarks.readme.shipped_models", lambda path=path: [path])
        text = TABLES["accuracy"]()
        assert text.count(told) == 2
        assert ("In brackets" in text) == ("recall_interval" in figures)


def test_an_unknown_table_is_named() -> None:
    with pytest.raises(DataError, match="'prices'"):
        rewrite("<!-- table: prices -->\n<!-- end -->")


def test_each_machine_has_a_table_by_the_file_that_bears_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured = json.loads(next((ROOT / "benchmarks/reference").glob("bench_*.json")).read_text())
    for fingerprint, vectors in (("aaaa", "AVX2"), ("bbbb", "AVX-512 VNNI")):
        measured["machine"] |= {"fingerprint": fingerprint, "vector_instructions": vectors}
        (tmp_path / f"bench_{fingerprint}.json").write_text(json.dumps(measured))
    monkeypatch.setattr("crackedge.benchmarks.readme.REFERENCE", tmp_path)
    text = TABLES["bench"]()
    assert text.count("| model | ms |") == 2
    assert text.index("with AVX2,") < text.index("with AVX-512 VNNI,")

    (tmp_path / "bench_bbbb.json").rename(tmp_path / "bench_here.json")
    with pytest.raises(DataError, match=r"bench_here\.json: .*rename it to bench_bbbb\.json"):
        TABLES["bench"]()


def test_latency_that_nobody_measured_is_no_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("crackedge.benchmarks.readme.REFERENCE", tmp_path)
    with pytest.raises(DataError, match="crackedge bench --json"):
        TABLES["bench"]()
