"""The byte shift: the first operator of int8 files, which turns uint8 pixels into int8 ones, left out in memory.

An int8 network takes uint8 pixels through a QUANTIZE of equal scale and a zero point that is 128 lower, so that each
byte comes out as ``byte ^ 0x80``. In the interpreter this is a reference kernel on one thread, and a copy of the frame.
A network that begins behind it takes the same bytes from whoever writes the pixels, at no cost beside writing them.

FlatBuffers in short, as far as they are read here: a *table* begins with the signed distance back to its vtable, which
holds its own size, the table's, and for each field the distance from the table, 0 where it is absent; a *vector* begins
with its length; what points to either holds the distance from itself. The field numbers are those of TFLite's schema.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence

_SUBGRAPHS, _OPERATOR_CODES = 2, 1  # of the model
_TENSORS, _INPUTS, _OUTPUTS, _OPERATORS = 0, 1, 2, 3  # of the subgraph
_TYPE, _QUANTIZATION = 1, 4  # of a tensor
_SCALE, _ZERO_POINT = 2, 3  # of its quantization
_OPCODE_INDEX, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 0, 1, 2  # of an operator
_OLD_CODE, _CODE = 0, 3  # of an operator code
_UINT8, _INT8, _QUANTIZE = 3, 9, 114


@functools.lru_cache(maxsize=2)  # one network's interpreters share it
def without_byte_shift(flatbuffer: bytes) -> bytes | None:
    """The network without its byte shift, with an int8 input; None where it does not begin with one.

    Three numbers change: the input, where the list of operators begins, and how long it is. Whether the file is sound
    is for the interpreter to say; here, a broken one simply has no byte shift.
    """
    try:
        return _without_byte_shift(flatbuffer)
    except (struct.error, IndexError):
        return None


def _without_byte_shift(data: bytes) -> bytes | None:
    model = _follow(data, 0)
    subgraphs = _tables(data, model, _SUBGRAPHS)
    if len(subgraphs) != 1:
        return None
    graph = subgraphs[0]
    inputs, operators = _ints(data, graph, _INPUTS), _tables(data, graph, _OPERATORS)
    if len(inputs) != 1 or not operators:
        return None
    first, *others = operators
    taken, given = _ints(data, first, _OPERATOR_INPUTS), _ints(data, first, _OPERATOR_OUTPUTS)
    elsewhere = [_ints(data, graph, _OUTPUTS), *(_ints(data, other, _OPERATOR_INPUTS) for other in others)]
    if taken != inputs or len(given) != 1 or any(inputs[0] in indices for indices in elsewhere):
        return None
    index = _field(data, first, _OPCODE_INDEX)
    code = _tables(data, model, _OPERATOR_CODES)[0 if index is None else _uint(data, index)]
    tensors = _tables(data, graph, _TENSORS)
    if _code(data, code) != _QUANTIZE or not _shifts(data, tensors[taken[0]], tensors[given[0]]):
        return None

    patched = bytearray(data)
    struct.pack_into("<i", patched, _vector(data, graph, _INPUTS) + 4, given[0])
    field = _field(data, graph, _OPERATORS)
    assert field is not None
    start = _follow(data, field)
    struct.pack_into("<I", patched, field, start + 4 - field)  # the place of the first operator becomes the length
    struct.pack_into("<I", patched, start + 4, len(others))
    return bytes(patched)


def _shifts(data: bytes, pixels: int, shifted: int) -> bool:
    """Whether QUANTIZE from one tensor to the other is the byte shift."""
    types, steps = [], []
    for tensor in (pixels, shifted):
        kind, quantization = _field(data, tensor, _TYPE), _field(data, tensor, _QUANTIZATION)
        if kind is None or quantization is None:
            return False
        types.append(data[kind])
        parameters = _follow(data, quantization)
        scales, zeros = _vector(data, parameters, _SCALE), _vector(data, parameters, _ZERO_POINT)
        if not scales or not zeros or _uint(data, scales) != 1 or _uint(data, zeros) != 1:
            return False
        steps.append((data[scales + 4 : scales + 8], struct.unpack_from("<q", data, zeros + 4)[0]))
    (scale, zero), (scale_after, zero_after) = steps
    return types == [_UINT8, _INT8] and scale == scale_after and zero - zero_after == 128


def _code(data: bytes, operator_code: int) -> int:
    """Which operator a code stands for; the old field of one byte holds 127 where it does not fit."""
    old, new = _field(data, operator_code, _OLD_CODE), _field(data, operator_code, _CODE)
    return max(data[old] if old else 0, _uint(data, new) if new else 0)


def _field(data: bytes, table: int, number: int) -> int | None:
    """Where a field of a table lies; None where the table has none."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    entry = 4 + 2 * number
    if vtable < 0 or entry >= struct.unpack_from("<H", data, vtable)[0]:
        return None
    distance: int = struct.unpack_from("<H", data, vtable + entry)[0]
    return table + distance if distance else None


def _uint(data: bytes, place: int) -> int:
    value: int = struct.unpack_from("<I", data, place)[0]
    return value


def _follow(data: bytes, place: int) -> int:
    return place + _uint(data, place)


def _vector(data: bytes, table: int, number: int) -> int:
    """Where a vector lies; 0 where it is absent."""
    field = _field(data, table, number)
    return 0 if field is None else _follow(data, field)


def _ints(data: bytes, table: int, number: int) -> Sequence[int]:
    vector = _vector(data, table, number)
    return struct.unpack_from(f"<{_uint(data, vector)}i", data, vector + 4) if vector else ()


def _tables(data: bytes, table: int, number: int) -> list[int]:
    vector = _vector(data, table, number)
    if not vector:
        return []
    count = _uint(data, vector)
    if vector + 4 + 4 * count > len(data):
        raise IndexError(count)
    return [_follow(data, vector + 4 + 4 * entry) for entry in range(count)]
