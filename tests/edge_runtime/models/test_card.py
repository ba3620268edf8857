from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackedge.edge_runtime.errors import ModelError, OptionError
from crackedge.edge_runtime.models.card import (
    MEMBER,
    SCHEMA,
    Calibration,
    ModelCard,
    OperatingPoint,
    append_card,
    from_json,
    split_card,
    to_json,
)

figures = st.floats(-1e6, 1e6)
points = st.builds(OperatingPoint, st.floats(0, 1), st.floats(0, 1))
calibrations = st.builds(
    Calibration, figures, figures, figures, figures, st.dictionaries(st.text(min_size=1), points, min_size=1)
)
cards = st.builds(
    ModelCard,
    name=st.text(min_size=1),
    version=st.text(),
    labels=st.tuples(st.text(), st.text()),
    calibration=st.dictionaries(st.sampled_from(["tiles", "dense"]), calibrations),
    data_sets=st.lists(st.dictionaries(st.text(), st.text() | st.integers()), max_size=2).map(tuple),
    lineage=st.lists(st.dictionaries(st.text(), st.text()), max_size=2).map(tuple),
    training=st.dictionaries(st.text(), st.integers()),
    metrics=st.dictionaries(st.text(), st.dictionaries(st.text(), figures | st.none())),
    notes=st.text(),
)


@settings(max_examples=40)
@given(cards, st.binary(max_size=200))
def test_a_card_comes_back_as_it_was_written(card: ModelCard, flatbuffer: bytes) -> None:
    data = append_card(flatbuffer, card)
    back, read = split_card(data, origin="x")
    assert back == flatbuffer
    assert read is not None
    assert dataclasses.replace(read, sha256="") == card
    assert append_card(flatbuffer, read) == data


def test_the_card_names_the_flatbuffer_by_its_sha256(card: Callable[..., ModelCard]) -> None:
    _, read = split_card(append_card(b"abc", card()), origin="x")
    assert read is not None
    assert read.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_an_older_card_does_not_say_takes_its_default() -> None:
    assert from_json('{"name": "n", "schema": 1}', origin="x") == ModelCard(name="n")


def test_what_this_crackedge_does_not_know_is_left_out(card: Callable[..., ModelCard]) -> None:
    raw = {**json.loads(to_json(card())), "colour": "red"}
    assert from_json(json.dumps(raw), origin="x") == card()


def test_a_newer_schema_is_refused() -> None:
    with pytest.raises(ModelError, match=rf"^m\.tflite: .*schema {SCHEMA + 1}.*up to {SCHEMA}; upgrade crackedge$"):
        from_json(json.dumps({"name": "n", "schema": SCHEMA + 1}), origin="m.tflite")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"schema": null}',
        '{"schema": 1}',
        '{"schema": 1, "name": "n", "calibration": []}',
        '{"schema": 1, "name": "n", "calibration": {"dense": {"scale": 1}}}',
        '{"schema": 1, "name": "n", "calibration": {"dense": {"scale": "wide", "operating_points": {}}}}',
        '{"schema": 1, "name": "n", "calibration": {"dense": {"operating_points": {"p": {"threshold": 1}}}}}',
        '{"schema": 1, "name": "n", "labels": 5}',
        '{"schema": 1, "name": "n", "golden": 5}',
        '{"schema": 1, "name": "n", "golden": ["formula"]}',
        '{"schema": Infinity, "name": "n"}',
        "[" * 100_000,
    ],
)
def test_a_malformed_card_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ModelError, match=r"^m\.tflite: its model card is .*; export the model again$") as caught:
        from_json(text, origin="m.tflite")
    assert "\n" not in str(caught.value)


@given(st.data())
def test_a_flatbuffer_that_changed_under_its_card_is_refused(data: st.DataObject) -> None:
    flatbuffer = bytes(range(256))
    whole = bytearray(append_card(flatbuffer, ModelCard(name="n")))
    whole[data.draw(st.integers(0, 255))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ModelError, match="sha256"):
        split_card(bytes(whole), origin="x")


@given(st.data())
def test_a_file_cut_anywhere_is_never_taken_for_whole(data: st.DataObject) -> None:
    flatbuffer = bytes(range(256))
    whole = append_card(flatbuffer, ModelCard(name="n", notes="a long note " * 20))
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    if MEMBER.encode() in cut:
        with pytest.raises(ModelError, match=r"copy the file again|sha256"):
            split_card(cut, origin="x")
    else:
        assert split_card(cut, origin="x") == (cut, None)


def test_a_damaged_card_is_refused() -> None:
    whole = bytearray(append_card(b"abc", ModelCard(name="n", notes="a note")))
    whole[3 + 30 + len(MEMBER) + 5] ^= 0xFF  # inside the compressed text
    with pytest.raises(ModelError, match=r"card is damaged .*copy the file again"):
        split_card(bytes(whole), origin="x")


@given(st.data())
def test_a_card_with_any_bit_turned_is_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(append_card(b"abc", ModelCard(name="n", notes="a note")))
    whole[data.draw(st.integers(3, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(ModelError):
        split_card(bytes(whole), origin="x")


@pytest.mark.parametrize(("place", "bit"), [(-6, 7), (-22 - 46 - len(MEMBER) + 6, 6)], ids=["offset", "version"])
def test_a_damaged_directory_is_refused(place: int, bit: int) -> None:
    whole = bytearray(append_card(b"abc", ModelCard(name="n")))
    whole[place + (3 if bit == 7 else 0)] ^= 1 << bit
    with pytest.raises(ModelError, match=r"card is damaged .*copy the file again"):
        split_card(bytes(whole), origin="x")


def test_a_card_that_unfolds_to_something_huge_is_refused_unread() -> None:
    whole = append_card(b"abc", ModelCard(name="n", notes=" " * 20_000_000))
    assert len(whole) < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=r"^m\.tflite: its model card is larger than 8 MiB; copy the file again$"):
            split_card(whole, origin="m.tflite")
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


def test_no_archive_and_another_archive_are_no_card() -> None:
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("labels.txt", "cat")
    for data in (b"abc", b"", b"abc" + other.getvalue()):
        assert split_card(data, origin="x") == (data, None)


def test_other_files_may_stand_beside_the_card(card: Callable[..., ModelCard]) -> None:
    whole = io.BytesIO(append_card(b"abc", card()))
    with zipfile.ZipFile(whole, "a") as archive:
        archive.writestr("labels.txt", "crack")
    flatbuffer, read = split_card(whole.getvalue(), origin="x")
    assert flatbuffer == b"abc"
    assert read is not None
    assert read.name == "tiny"


def test_operating_points_are_found_by_engine_and_name(card: Callable[..., ModelCard]) -> None:
    assert card().operating_point("dense") == OperatingPoint(0.5, 0.5)
    assert card(default="high-recall").operating_point("dense") == OperatingPoint(0.2, 0.3)
    assert card().operating_point("tiles", "high-precision") == OperatingPoint(0.9, 0.8)
    assert ModelCard(name="bare").operating_point("dense") == OperatingPoint()
    with pytest.raises(OptionError, match=r"'eager': model tiny has balanced, high-precision, high-recall"):
        card().operating_point("tiles", "eager")
