"""The operations of a network: what they are, which are accelerated, and what share of the time each takes here.

No TFLite package for Python has a profiler. So the network is cut behind each of its operations in turn: the file is
made to end there (what is still needed later becomes an output too), and each cut runs as the whole does, fused and
accelerated. An operation takes what the cut behind it takes longer than the cut before it. A pass goes through all cuts
and keeps the fastest call of each. What disturbs a machine only adds time: so the lower quartile of the passes counts,
and no cut longer than a later one. Intervals of 95 % come from drawing the passes anew (bootstrap).
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.lattice import padded_hw
from crackedge.edge_runtime.models.interpreter import find_runtime
from crackedge.edge_runtime.native_log import captured

FRAME_HW = (1080, 1920)  # px

_LEAST_PASSES, _MOST_PASSES = 5, 60
_CUT_S = 3e-3  # of calls of a cut in a pass
_RESAMPLES = 400


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a graph, in the order of running.

    Attributes:
        kind: the operator, and the size of its kernel: ``"CONV_2D 3x3"``.
        inputs: numbers of its tensors, constants included.
        outputs: numbers of the tensors that it makes.
        shape: of its first output, for one tile.
        macs: multiplications with addition for one tile; only convolutions and dense layers are counted.
        macs_frame: the same for a 1920x1080 frame; None where the network takes no such input.
        accelerated: whether the interpreter's delegate, XNNPACK, has taken it.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    shape: tuple[int, ...]
    macs: int
    macs_frame: int | None
    accelerated: bool

    @property
    def size(self) -> str:
        """Height and width of its first output, as text."""
        return "x".join(map(str, self.shape[1:-1])) or "vector"


def read_graph(flatbuffer: bytes, tile: Sequence[int], *, threads: int) -> tuple[dict[str, Any], list[Operation]]:
    """A network's totals and tensors, ready to be written as JSON, and its operations.

    Args:
        flatbuffer: of one graph with one input and one output, without a card.
        tile: shape of the input, (1, H, W, 3).
        threads: of the interpreter that says what is accelerated.

    Returns:
        The totals have ``input``, ``output``, ``parameters``, ``macs``, ``macs_frame`` and ``refused``: why the network
        takes no whole frame, None where it does.

    Raises:
        ValueError, RuntimeError: the interpreter's own, when it does not take the network.
    """
    plain = _start(flatbuffer, tile, threads=1, delegates=False)
    nodes = plain._get_ops_details()
    tensors = {one["index"]: one for one in plain.get_tensor_details()}
    shapes = {index: one["shape"].tolist() for index, one in tensors.items()}
    try:
        large = _start(flatbuffer, [1, *padded_hw(*FRAME_HW), 3], threads=1, delegates=False)
        frame_shapes = {one["index"]: one["shape"].tolist() for one in large.get_tensor_details()}
        refused = None
    except (ValueError, RuntimeError, MemoryError) as error:
        frame_shapes, refused = {}, " ".join(str(error).split())
    taken = _delegated(_start(flatbuffer, tile, threads=threads)._get_ops_details(), len(nodes))
    operations = []
    for number, node in enumerate(nodes):
        inputs, outputs = (tuple(int(one) for one in node[end] if one >= 0) for end in ("inputs", "outputs"))
        kernel, work = _work(node["op_name"], shapes[inputs[1]] if len(inputs) > 1 else [])
        operations.append(
            Operation(
                kind=node["op_name"] + kernel,
                inputs=inputs,
                outputs=outputs,
                shape=tuple(shapes[outputs[0]]),
                macs=work * math.prod(shapes[outputs[0]]),
                macs_frame=work * math.prod(frame_shapes[outputs[0]]) if frame_shapes else None,
                accelerated=number in taken,
            )
        )
    given, result = plain.get_input_details()[0], plain.get_output_details()[0]
    made = {int(given["index"]), *(tensor for one in operations for tensor in one.outputs)}
    constants = {tensor for one in operations for tensor in one.inputs} - made
    graph = {
        "input": _tensor(given),
        "output": _tensor(result),
        "parameters": sum(math.prod(shapes[one]) for one in constants if _is_weight(tensors[one])),
        "macs": sum(one.macs for one in operations),
        "macs_frame": None if refused else sum(one.macs_frame or 0 for one in operations),
        "refused": refused,
    }
    return graph, operations


def cut(flatbuffer: bytes, count: int, outputs: Sequence[int]) -> bytes:
    """A flatbuffer that ends after its first operations.

    Args:
        flatbuffer: of one graph, without a card.
        count: how many operations stay.
        outputs: numbers of the tensors that become its outputs.
    """
    made = bytearray(flatbuffer)

    def follow(place: int) -> int:
        return place + int(struct.unpack_from("<I", made, place)[0])

    def entry(table: int, number: int) -> int:
        """Where a table's field is: the format's `vtable` has a 16-bit offset for each, after two sizes."""
        vtable = table - struct.unpack_from("<i", made, table)[0]
        return table + int(struct.unpack_from("<H", made, vtable + 4 + 2 * number)[0])

    graph = follow(follow(entry(follow(0), 2)) + 4)  # Model.subgraphs[0]
    struct.pack_into("<I", made, follow(entry(graph, 3)), count)  # length of SubGraph.operators
    made += bytes(-len(made) % 4)
    ends = entry(graph, 2)  # SubGraph.outputs
    struct.pack_into("<I", made, ends, len(made) - ends)
    return bytes(made + struct.pack(f"<I{len(outputs)}i", len(outputs), *outputs))


def time_cuts(
    flatbuffer: bytes,
    tile: Sequence[int],
    operations: Sequence[Operation],
    *,
    threads: int,
    seconds: float,
    progress: Callable[[str], None] = lambda _: None,
) -> npt.NDArray[np.float64]:
    """How long the network takes when it is cut behind each of its operations.

    Args:
        flatbuffer: as for :func:`read_graph`.
        tile: shape of the input.
        operations: all of the network.
        threads: of the interpreter.
        seconds: about how long to measure; at least five passes are made.
        progress: is told where it is.

    Returns:
        (passes, operations) milliseconds, of each cut the fastest call in a pass.

    Raises:
        ValueError, RuntimeError: the interpreter's own, when it does not take a cut.
    """
    ends = []
    for count in range(1, len(operations) + 1):
        later = {tensor for one in operations[count:] for tensor in one.inputs}
        last = operations[count - 1].outputs
        made = [tensor for one in operations[:count] for tensor in one.outputs]
        ends.append([tensor for tensor in made if tensor in later or tensor in last])
    passes: list[list[float]] = []
    begin = time.perf_counter()
    while len(passes) < _LEAST_PASSES or (time.perf_counter() - begin < seconds and len(passes) < _MOST_PASSES):
        fastest = []
        for count, outputs in enumerate(ends, 1):
            progress(f"timing: pass {len(passes) + 1}, operation {count} of {len(ends)}")
            raw = _start(cut(flatbuffer, count, outputs), tile, threads=threads)
            fastest.append(_fastest_ms(raw.invoke))
        passes.append(fastest)
    return np.array(passes)


def time_shares(operations: Sequence[Operation], samples_ms: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Which part of a call's time goes where; ready to be written as JSON.

    Args:
        operations: all of the network.
        samples_ms: (passes, operations), from :func:`time_cuts`.

    Returns:
        ``share``, and ``low`` and ``high``, the interval's ends, of each of ``operations``, ``by_kind``, ``by_size`` of
        the output, and of all that is ``not_accelerated``. Time is never negative, so noise alone has a share above 0
        too, with an interval whose ends are a factor of two or more apart: then the share is not known.
    """
    drawn = np.random.default_rng(0).integers(len(samples_ms), size=(_RESAMPLES, len(samples_ms)))
    ends = np.vstack([np.quantile(samples_ms, 0.25, axis=0), np.quantile(samples_ms[drawn], 0.25, axis=1)])
    ends = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    shares = np.diff(ends, axis=1, prepend=0) / ends[:, -1:]  # (1 + resamples, operations); the first is the estimate

    def part(numbers: Iterable[int]) -> dict[str, float]:
        sums = shares[:, list(numbers)].sum(axis=1)
        low, high = np.percentile(sums[1:], [2.5, 97.5])
        return {"share": float(sums[0]), "low": float(low), "high": float(high)}

    return {
        "passes": len(samples_ms),
        "total_ms": float(ends[0, -1]),
        "operations": [part([number]) for number in range(len(operations))],
        "by_kind": {name: part(numbers) for name, numbers in groups(one.kind for one in operations).items()},
        "by_size": {name: part(numbers) for name, numbers in groups(one.size for one in operations).items()},
        "not_accelerated": part(number for number, one in enumerate(operations) if not one.accelerated),
    }


def groups(names: Iterable[str]) -> dict[str, list[int]]:
    """The places of each name, in the order of first appearance."""
    found: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        found.setdefault(name, []).append(number)
    return found


def _start(flatbuffer: bytes, shape: Sequence[int], *, threads: int, delegates: bool = True) -> Any:
    """The package's own interpreter, ready to be invoked."""
    with captured():  # which delegate was made; why a size is refused
        raw = find_runtime().start(flatbuffer, threads=threads, delegates=delegates)
        raw.resize_tensor_input(raw.get_input_details()[0]["index"], shape)
        raw.allocate_tensors()
    return raw


def _tensor(details: Mapping[str, Any]) -> dict[str, Any]:
    scale, zero_point = details["quantization"]  # 0, 0 where there is none
    return {
        "index": int(details["index"]),
        "shape": details["shape"].tolist(),
        "dtype": np.dtype(details["dtype"]).name,
        "scale": float(scale),
        "zero_point": int(zero_point),
    }


def _is_weight(tensor: Mapping[str, Any]) -> bool:
    """Not a shape, an axis or a padding: those are integers that stand for themselves."""
    return np.dtype(tensor["dtype"]).kind == "f" or len(tensor["quantization_parameters"]["scales"]) > 0


def _work(kind: str, weights: Sequence[int]) -> tuple[str, int]:
    """Kernel size as text, and multiplications for each number of the output."""
    if kind == "CONV_2D":  # out, height, width, in (of a group)
        return f" {weights[1]}x{weights[2]}", math.prod(weights[1:])
    if kind == "DEPTHWISE_CONV_2D":  # 1, height, width, out
        return f" {weights[1]}x{weights[2]}", weights[1] * weights[2]
    if kind == "FULLY_CONNECTED":  # out, in
        return "", weights[1]
    return "", 0


def _delegated(nodes: Sequence[Mapping[str, Any]], count: int) -> set[int]:
    """Numbers of the operations inside delegates' nodes, which a runtime appends to the graph's own ``count``."""
    maker = {int(tensor): number for number, node in enumerate(nodes[:count]) for tensor in node["outputs"]}
    found: set[int] = set()
    for delegate in nodes[count:]:
        given = {int(tensor) for tensor in delegate["inputs"]}
        wanted = [int(tensor) for tensor in delegate["outputs"]]
        while wanted:  # from what it makes back to what it is given
            number = maker.get(wanted.pop())
            if number is not None and number not in found:
                found.add(number)
                wanted += [int(tensor) for tensor in nodes[number]["inputs"] if int(tensor) not in given]
    return found


def _fastest_ms(call: Callable[[], None]) -> float:
    call()  # pays for what is made once
    samples: list[float] = []
    while sum(samples) < _CUT_S:
        before = time.perf_counter()
        call()
        samples.append(time.perf_counter() - before)
    return min(samples) * 1e3
