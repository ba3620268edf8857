"""The lines of results.jsonl against their schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackedge.edge_runtime import Frame, LiveSourceError, Scanner, open_source
from crackedge.edge_runtime.records import frame_record, gap_record, header_record, summary_record, utc_text
from crackedge.edge_runtime.sources.source import Gap, Skipped
from crackedge.edge_runtime.tally import LostOutput, Summary

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "results.schema.json").read_text())
NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, timezone.utc)

finite = st.floats(0, 1e6, allow_nan=False)


@pytest.fixture(scope="session")
def valid() -> Callable[[dict[str, Any]], dict[str, Any]]:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)

    def check(record: dict[str, Any]) -> dict[str, Any]:
        validator.validate(record)
        return dict(json.loads(json.dumps(record, allow_nan=False)))

    return check


def dark_block(height: int = 480, width: int = 640) -> Any:
    image = np.full((height, width, 3), 240, np.uint8)
    image[100:330, 90:400] = 0
    return image


def test_header(valid: Any, tiny_model: Path, photo: Any) -> None:
    with Scanner(tiny_model, engine="tiles", threshold=0.7) as scanner, open_source(photo("p.png")) as source:
        record = valid(header_record(source, model=scanner.model, plan=scanner.plan, started_at=NOON))
        part = valid(header_record(source, model=scanner.model, plan=scanner.plan, started_at=NOON, part="p"))
    assert record["started_at"] == "2026-03-01T12:00:00.123Z"
    assert record["model"]["name"] == "tiny"
    assert record["plan"]["engine"] == "tiles"
    assert record["plan"]["window_threshold"] == 0.7
    assert record["source"] == {
        "uri": str(photo("p.png")), "kind": "images", "live": False, "frames": 1, "fps": None
    }  # fmt: skip
    assert {"crackedge", "python", "numpy", "av"} <= record["versions"].keys()
    assert part.pop("part") == "p"
    assert part == record


@pytest.mark.parametrize("scores", [False, True])
def test_frame(scores: bool, valid: Any, tiny_model: Path) -> None:
    with Scanner(tiny_model) as scanner:
        result = scanner(dark_block())
    record = valid(frame_record(Frame(dark_block(), 7, 1 / 3, file="a/b.png"), result, scores=scores))
    assert list(record)[:6] == ["type", "index", "time_s", "dropped_before", "width", "height"]
    assert (record["index"], record["time_s"], record["file"]) == (7, 0.333333, "a/b.png")
    assert (record["width"], record["height"]) == (640, 480)
    assert record["cracked"] is True
    (region,) = record["regions"]
    x0, y0, x1, y1 = region["bbox"]
    xs, ys = zip(*region["polygon"], strict=True)
    assert (min(xs), min(ys), max(xs), max(ys)) == (x0, y0, x1, y1)
    assert region["cells"] == [list(cell) for cell in result.regions[0].cells]
    assert "captured_at" not in record
    assert ("scores" in record) is scores
    if scores:
        values = np.array(record["scores"]["values"])
        assert values.shape == (len(record["scores"]["ys"]), len(record["scores"]["xs"]))
        assert values == pytest.approx(result.score_map.window_scores, abs=0.0005)
        assert values.max() == pytest.approx(record["max_score"], abs=0.001)


def test_a_frame_without_cracks(valid: Any, tiny_model: Path) -> None:
    image = np.full((100, 50, 3), 255, np.uint8)
    with Scanner(tiny_model) as scanner:
        record = valid(frame_record(Frame(image, 0, 0.0, captured_at=NOON, dropped_before=4), scanner(image)))
    assert (record["cracked"], record["regions"]) == (False, [])
    assert (record["captured_at"], record["dropped_before"]) == ("2026-03-01T12:00:00.123Z", 4)
    with pytest.raises(jsonschema.ValidationError):
        valid({**record, "cracked": True})


@given(reason=st.text(min_size=1), index=st.integers(0, 10**9), time_s=finite, seconds=st.none() | finite)
def test_gap(reason: str, index: int, time_s: float, seconds: float | None) -> None:
    for started_at in (None, NOON):
        record = gap_record(Gap(reason, index, time_s, seconds, started_at))
        jsonschema.Draft202012Validator(SCHEMA).validate(record)
        assert ("started_at" in record) is (started_at is not None)


@given(
    reason=st.sampled_from(["end", "max-frames", "interrupted", "lost"]),
    counts=st.tuples(*[st.integers(0, 10**6)] * 5),
    seconds=finite,
    words=st.lists(st.text(min_size=1), max_size=2),
)
def test_summary(reason: Any, counts: tuple[int, ...], seconds: float, words: list[str]) -> None:
    summary = Summary(
        source="x",
        part=None,
        live=True,
        reason=reason,
        frames=counts[0],
        cracked_frames=counts[1],
        regions=counts[2],
        seconds=seconds,
        fps=seconds,
        dropped=counts[3],
        gaps=counts[4],
        skipped=tuple(Skipped(word, word) for word in words),
        lost_outputs=tuple(LostOutput(word, word) for word in words),
        error=LiveSourceError("gone") if reason == "lost" else None,
    )
    record = summary_record(summary, ended_at=NOON)
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(record, allow_nan=False)))
    assert record["reason"] == reason
    assert record["error"] == ("gone" if reason == "lost" else None)


@given(st.datetimes(timezones=st.sampled_from([timezone.utc, timezone(timedelta(hours=-7))])))
def test_utc(moment: datetime) -> None:
    if 2 < moment.year < 9998:
        back = datetime.strptime(utc_text(moment), "%Y-%m-%dT%H:%M:%S.%f%z")
        assert timedelta(0) <= moment - back < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"type": "frame"},
        {"type": "other"},
        {"type": "gap", "reason": "x", "before_index": -1, "time_s": 0, "seconds": 0},
    ],
)
def test_the_schema_refuses(record: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(record)
