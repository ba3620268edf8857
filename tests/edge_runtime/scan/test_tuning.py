from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.models.model import Model, open_model
from crackedge.edge_runtime.processor import usable_cores
from crackedge.edge_runtime.records import frame_record
from crackedge.edge_runtime.scan import tuning as tuning_module
from crackedge.edge_runtime.scan.scanner import Scanner
from crackedge.edge_runtime.scan.tuning import Candidate, Way, format_tuning, tune, tuned
from crackedge.edge_runtime.scenes.scene import parse_scene


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "crackedge" / "tuning"


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Model:
    return open_model(tiny_model)


@pytest.mark.parametrize("engine", ["dense", "tiles"])
def test_a_tuning_is_measured_once_and_read_from_then_on(cache: Path, tiny: Model, engine: str) -> None:
    first = tuned(tiny, engine=engine, seconds=0.05)
    assert first.measured
    assert first.kept_in == next(cache.iterdir())
    assert first.candidates[0].way == (Way(usable_cores()) if engine == "dense" else Way(usable_cores(), 1, 8))
    assert first.candidates[0].ratio == 1
    assert first.way in [one.way for one in first.candidates]
    again = tuned(tiny, engine=engine)
    assert again == dataclasses.replace(first, measured=False)
    assert tune(tiny, engine=engine, seconds=0.05).measured
    assert len(list(cache.iterdir())) == 1


def test_every_model_and_engine_has_its_own(cache: Path, tiny: Model, context_model: Path) -> None:
    for model, engine in ((tiny, "dense"), (tiny, "tiles"), (open_model(context_model), "auto")):
        assert tuned(model, engine=engine, seconds=0.01).measured
    assert len(list(cache.iterdir())) == 3


def _changed(text: bytes, **changes: Any) -> bytes:
    kept = json.loads(text)
    return json.dumps({**kept, "content": {**kept["content"], **changes}}).encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"\xff\xfe",
        lambda _: b"[]",
        lambda _: b"null",
        lambda text: text[: len(text) // 2],
        lambda text: json.dumps({**json.loads(text), "identity": {"device": "another"}}).encode(),
        lambda text: json.dumps({**json.loads(text), "content": [1]}).encode(),
        lambda text: _changed(text, way={"threads": 999}),
        lambda text: _changed(text, way={"threads": "two"}),
        lambda text: _changed(text, way=[1]),
        lambda text: _changed(text, candidates=[3]),
        lambda text: _changed(text, candidates=None),
        lambda text: _changed(text, more=1),
        lambda _: b"[" * 50_000,
    ],
)
def test_a_damaged_or_foreign_file_is_measured_over(cache: Path, tiny: Model, damage: Callable[[bytes], bytes]) -> None:
    kept = tuned(tiny, seconds=0.01).kept_in
    assert kept is not None
    kept.write_bytes(damage(kept.read_bytes()))
    assert tuned(tiny, seconds=0.01).measured
    assert not tuned(tiny, seconds=0.01).measured


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    found = tuned(tiny, seconds=0.01)
    assert found.measured
    assert found.kept_in is None
    assert "not kept: the cache cannot be written" in format_tuning(found)


def test_without_a_variable_the_cache_is_in_the_home(
    tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for named in ("", "relative/place"):
        monkeypatch.setenv("XDG_CACHE_HOME", named)
        found = tuned(tiny, seconds=0.01)
        assert found.kept_in is not None
        assert found.kept_in.parent == tmp_path / ".cache" / "crackedge" / "tuning"


def candidates(*measured: tuple[float, float]) -> tuple[Candidate, ...]:
    """One interpreter with all threads, and others of such ratio and share of rounds won."""
    first = Candidate(Way(2, 1, 8), 10.0, 1.0, 0.0)
    others = (Candidate(Way(1, 2, n), 10 * ratio, ratio, won) for n, (ratio, won) in enumerate(measured, 1))
    return (first, *others)


@pytest.mark.parametrize(
    ("measured", "chosen"),
    [
        ([(0.80, 1.0), (0.75, 0.9)], Way(1, 2, 2)),
        ([(0.98, 1.0)], Way(2, 1, 8)),  # too little
        ([(0.80, 0.6)], Way(2, 1, 8)),  # too seldom
        ([(0.70, 0.6), (0.96, 0.75)], Way(1, 2, 2)),
        ([], Way(2, 1, 8)),
    ],
)
def test_one_interpreter_stays_unless_another_way_beats_it_beyond_noise(
    measured: list[tuple[float, float]], chosen: Way
) -> None:
    assert tuning_module._choice(candidates(*measured)) == chosen


def test_the_table_names_the_choice_and_the_reason(cache: Path, tiny: Model) -> None:
    found = tuned(tiny, engine="tiles", seconds=0.01)
    slower = dataclasses.replace(found, candidates=candidates((1.2, 0.0)), way=Way(2, 1, 8))
    assert "chosen: 1 interpreter of 2 threads, batch 8; the best other way takes 1.200 of its time" in format_tuning(
        slower
    )
    faster = dataclasses.replace(found, candidates=candidates((0.8, 1.0)), way=Way(1, 2, 1), measured=False)
    text = format_tuning(faster)
    assert "->            2        1      1       8.00       0.800       100%" in text
    assert (
        "chosen: 2 interpreters of 1 thread each, batch 1; "
        "it takes 0.800 of the time of 1 interpreter of 2 threads, batch 8" in text
    )
    assert ", from the cache: " in text


def test_a_scanner_uses_it_when_asked_and_says_so(cache: Path, tiny: Model) -> None:
    with Scanner(tiny, engine="tiles") as scanner:
        assert scanner.tuning is None
    assert not cache.exists()
    with Scanner(tiny, engine="tiles", tune=True) as scanner:
        assert scanner.tuning is not None
        plan = scanner.plan
        assert Way(plan.threads, plan.interpreters, plan.batch) == scanner.tuning.way


@pytest.mark.parametrize("explicit", [{"threads": 1}, {"interpreters": 2}, {"batch": 3}])
def test_explicit_options_come_first(cache: Path, tiny: Model, explicit: dict[str, int]) -> None:
    with Scanner(tiny, engine="tiles", tune=True, **explicit) as scanner:  # type: ignore[arg-type]
        assert scanner.tuning is None
        assert {name: getattr(scanner.plan, name) for name in explicit} == explicit
    assert not cache.exists()


@pytest.mark.parametrize("engine", ["dense", "tiles"])
def test_records_do_not_depend_on_it_nor_on_threads(cache: Path, engine: str) -> None:
    frames = list(parse_scene("scene:concrete?seed=7&frames=2&size=800x450"))
    runs = []
    for options in ({"threads": 1}, {"threads": 2}, {"threads": 2}, {"tune": True}):
        with Scanner("nano", engine=engine, **options) as scanner:
            records = [frame_record(frame, scanner(frame.image), scores=True) for frame in frames]
        runs.append([json.dumps({**record, "timing_ms": {}}) for record in records])
    assert runs[1:] == runs[:1] * 3
    assert '"cracked": true' in runs[0][0]


def test_an_engine_that_cannot_run_the_model_is_refused(cache: Path, write_model: Callable[..., Path]) -> None:
    with pytest.raises(OptionError, match="'dense' needs a logit map"):
        tuned(open_model(write_model("classifier")), engine="dense")
