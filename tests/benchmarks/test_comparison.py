from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crackedge.benchmarks.comparison import (
    check_comparable,
    check_judgeable,
    check_regression,
    compare,
    format_comparison,
    parse_share,
    read_bench,
)
from crackedge.edge_runtime.errors import DataError, OptionError, ProofError

SCHEMA = 2


def measured(
    rng: np.random.Generator, *, factors: Mapping[str, float] | None = None, restarts: int = 5, apart: float = 0.03
) -> dict[str, Any]:
    """A measurement of three scenarios whose processes differ a little, some scenarios slower by a factor."""
    factors = factors or {}
    scenarios = {}
    for name, ms in (("tile", 0.8), ("frame", 30.0), ("file", 40.0)):
        levels = ms * factors.get(name, 1.0) * np.exp(rng.normal(0, apart, restarts))
        scenarios[name] = {"samples_ms": [(level * rng.lognormal(0, 0.1, 60)).tolist() for level in levels]}
    return {
        "schema": SCHEMA,
        "kind": "bench",
        "machine": {"fingerprint": "aaaa"},
        "model": {"sha256": "0123456789abcdef"},
        "plan": {"engine": "dense", "stride": 32, "threads": 2},
        "input": {"width": 1920, "height": 1080, "source": "scene"},
        "scenarios": scenarios,
    }


def test_a_planted_regression_is_found_and_named() -> None:
    rng = np.random.default_rng(1)
    compared = compare(measured(rng), measured(rng, factors={"frame": 1.4}))
    assert compared["frame"]["ratio"] == pytest.approx(1.4, abs=0.1)
    assert compared["frame"]["low"] < 1.4 < compared["frame"]["high"]
    with pytest.raises(ProofError, match=r"frame takes 1\.\d+ times as long, at least .*limit 1\.10") as failure:
        check_regression(compared, fail_over=0.1)
    assert "tile" not in str(failure.value)
    assert "frame" in format_comparison(compared)


def test_regressions_are_found_nearly_always() -> None:
    rng = np.random.default_rng(2)
    found = [compare(measured(rng), measured(rng, factors={"tile": 1.4}))["tile"]["low"] > 1.1 for _ in range(30)]
    assert np.mean(found) > 0.9


@pytest.mark.parametrize(("restarts", "apart"), [(3, 0.03), (3, 0.15), (5, 0.05)])
def test_noise_is_not_reported(restarts: int, apart: float) -> None:
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(50):
        compared = compare(measured(rng, restarts=restarts, apart=apart), measured(rng, restarts=restarts, apart=apart))
        alarms += any(one["low"] > 1.0 for one in compared.values())  # even without any limit
    assert alarms <= 3, "of fifty, at a confidence of 95 %"


def test_what_became_faster_passes() -> None:
    rng = np.random.default_rng(4)
    check_regression(compare(measured(rng), measured(rng, factors={"tile": 0.5})), fail_over=0.0)


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("machine", "fingerprint", "bbbb"),
        ("model", "sha256", "ffff"),
        ("plan", "threads", 4),
        ("plan", "engine", "tiles"),
        ("input", "width", 640),
        ("input", "source", "flight.mp4"),
    ],
)
def test_another_machine_model_plan_or_input_is_refused(group: str, key: str, value: object) -> None:
    base, now = measured(np.random.default_rng(5)), measured(np.random.default_rng(6))
    check_comparable(base, now)
    check_comparable(base, {key: now[key] for key in ("machine", "model", "plan", "input")})
    now[group] = {**now[group], key: value}
    with pytest.raises(OptionError, match=f"another {group} .*{key}.*--force"):
        check_comparable(base, now)


def test_single_processes_are_not_compared() -> None:
    rng = np.random.default_rng(7)
    check_judgeable(measured(rng), scenarios=["tile"], restarts=2)
    with pytest.raises(OptionError, match="2 processes at least"):
        check_judgeable(measured(rng), scenarios=["tile"], restarts=1)
    with pytest.raises(OptionError, match="2 processes at least"):
        check_judgeable(measured(rng, restarts=1), scenarios=["tile"], restarts=3)


def test_nothing_in_common_is_refused() -> None:
    base, now = measured(np.random.default_rng(8)), measured(np.random.default_rng(9))
    now["scenarios"] = {"null": now["scenarios"]["tile"]}
    base["scenarios"]["null"] = base["scenarios"]["tile"]
    with pytest.raises(OptionError, match="none of these scenarios, but tile, frame, file, null"):
        compare(base, now)
    with pytest.raises(OptionError, match="none of these scenarios"):
        check_judgeable(base, scenarios=["cold", "null"], restarts=3)


def test_a_baseline_is_read(tmp_path: Path) -> None:
    file = tmp_path / "base.json"
    file.write_text(json.dumps(measured(np.random.default_rng(10))))
    assert read_bench(file, schema=SCHEMA)["machine"]["fingerprint"] == "aaaa"


def _without(found: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != key}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda found: json.dumps(found)[:-40], "damaged or no JSON"),
        (lambda found: "\x00\x01", "damaged or no JSON"),
        (lambda found: "[1, 2]", "something else, expected one measurement"),
        (lambda found: json.dumps({**found, "kind": "sweep"}), "sweep, expected one measurement"),
        (lambda found: json.dumps({**found, "schema": 1}), "schema 1, expected 2"),
        (lambda found: json.dumps(_without(found, "machine")), "damaged .*machine"),
        (lambda found: json.dumps({**found, "plan": {}}), "damaged .*engine"),
        (lambda found: json.dumps({**found, "scenarios": {"tile": {"samples_ms": [[]]}}}), "damaged .*0 samples"),
        (lambda found: json.dumps({**found, "scenarios": {"tile": {"samples_ms": [["x"]]}}}), "damaged .*float"),
        (lambda found: json.dumps({**found, "scenarios": [1]}), "damaged"),
    ],
)
def test_a_damaged_or_foreign_baseline_is_refused(tmp_path: Path, damage: Any, said: str) -> None:
    file = tmp_path / "base.json"
    file.write_text(damage(measured(np.random.default_rng(11))))
    with pytest.raises(DataError, match=said):
        read_bench(file, schema=SCHEMA)


def test_a_missing_baseline_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.json: cannot be read"):
        read_bench(tmp_path / "absent.json", schema=SCHEMA)


@pytest.mark.parametrize(("text", "share"), [("10%", 0.1), ("0.25", 0.25), ("0", 0.0), ("150 %", 1.5)])
def test_limits(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["ten", "-5%", "nan", "inf", "", "%"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="limit"):
        parse_share(text)
