"""Outputs that are too slow for a live source: frames are passed over, counted and told."""

from __future__ import annotations

import json
from pathlib import Path

from crackedge.edge_runtime import Scanner, open_source
from crackedge.edge_runtime.notices import Notices
from crackedge.edge_runtime.runner import run
from crackedge.edge_runtime.sinks.rotation import KeptFiles, RotationOptions
from crackedge.edge_runtime.sinks.sink_address import SinkContext, open_sink, parse_sinks
from crackedge.edge_runtime.stop import StopFlag


def test_frames_that_a_live_output_passed_over_are_counted_and_said_once(tiny_model: Path, tmp_path: Path) -> None:
    """And are no loss: what arrived is the newest."""
    with open_source("scene:?frames=40&size=320x256&cracks=3") as source:
        source.live = True
        warnings: list[str] = []
        notices, stop = Notices(), StopFlag()
        kept = KeptFiles(RotationOptions(), notices)
        context = SinkContext(source=source, stop=stop, notices=notices, kept=kept)
        texts = [f"exec:echo $CRACKEDGE_FRAME >> {tmp_path / 'seen'}; sleep 0.3", f"jsonl:{tmp_path / 'r.jsonl'}"]
        sinks = [open_sink(address, context) for address in parse_sinks(texts)]
        with Scanner(tiny_model, threads=1, threshold=0.001) as scanner:
            summary = run(source, scanner, sinks, stop=stop, notices=notices, on_warning=warnings.append)
    (dropped,) = summary.dropped_by_sink
    seen = [int(line) for line in (tmp_path / "seen").read_text().split()]
    assert dropped.output == "exec"
    assert len(seen) + dropped.frames == summary.cracked_frames == 40
    assert seen == sorted(seen)
    assert seen[-1] == 39
    assert warnings == [f"exec: {dropped.frames} frames passed over, because it was too slow or not there"]
    assert not summary.lost_outputs
    assert summary.complete
    last = json.loads((tmp_path / "r.jsonl").read_text().splitlines()[-1])
    assert last["dropped_by_sink"] == [{"output": "exec", "frames": dropped.frames}]
