"""Resumption: what an interrupted run over a file left behind, and from which frame a new one goes on."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from crackedge.edge_runtime import result_folder
from crackedge.edge_runtime.errors import CrackedgeError, OptionError
from crackedge.edge_runtime.output_file import replacing
from crackedge.edge_runtime.records import Record, as_text, utc_text
from crackedge.edge_runtime.sinks import segments
from crackedge.edge_runtime.sinks.jsonl import json_line
from crackedge.edge_runtime.sources.addresses import find_addresses
from crackedge.edge_runtime.sources.source import SourceOptions
from crackedge.edge_runtime.tally import Earlier

_MUST_AGREE = ("schema", "model", "source", "plan")  # parts of the header, or the results are not of one piece
_MAY_DIFFER = ("threads", "interpreters", "batch", "frames")  # of these parts: speed, and an estimate
_KEPT = ("frame", "gap", "setting")  # records; what sinks did is said anew
_SELECTING = ("fps", "start_s", "end_s", "every", "every_s")  # options, of a series of photographs


def done_before(where: Path, max_frames: int | None) -> Record | None:
    """The summary of the results in a folder, where they are complete: to the source's end, or so many frames."""
    for last in deque(_lines(where / result_folder.RESULTS), maxlen=1):
        if last["type"] == "summary" and not last["lost_outputs"]:
            enough = last["reason"] == "max-frames" and max_frames is not None and last["frames"] >= max_frames
            ended = last["reason"] == "end" and not _has_others(next(_lines(where / result_folder.RESULTS)))
            return last if ended or enough else None
    return None


def take_up(where: Path, header: Record, *, marked: bool, at: datetime) -> Earlier:
    """Cut an interrupted run's outputs to the frames that all of them have, ready to be written on.

    The records' header gets the moment in its ``resumed_at``; what is there of the marked video becomes a segment.

    Args:
        where: the folder of the results; where there are none, nothing was done.
        header: of the run that goes on; model, source and plan must be the same.
        marked: whether there is to be a marked video, or marked images.
        at: UTC.

    Raises:
        OptionError: the results are of another run, or of files that are not there any more or at other places.
        OutputError: they cannot be written.
    """
    results = where / result_folder.RESULTS
    records = list(_lines(results))
    if not records:
        return Earlier()
    check_same(where, header)
    frames = sum(1 for record in records if record["type"] == "frame")
    if marked and header["source"]["kind"] == "images" and header["source"]["fps"] is None:
        frames = _cut_images(where / result_folder.MARKED_IMAGES, frames)
    elif marked:
        frames = _cut_video(where / result_folder.MARKED_VIDEO, frames)
    elif (where / result_folder.MARKED_VIDEO).exists() or (where / result_folder.MARKED_IMAGES).exists():
        raise OptionError(f"{where}: the interrupted run marked what it saw; go on without --no-video")
    kept = list(_first(records[1:], frames))
    resumed_at = [*records[0].get("resumed_at", []), utc_text(at)]
    with replacing(results) as part, part.open("wb") as file:
        begun = {**records[0], "source": header["source"], "resumed_at": resumed_at}  # it may have more frames now
        file.writelines(json_line(record) for record in (begun, *kept))
    scanned = [record for record in kept if record["type"] == "frame"]
    return Earlier(
        resumed=True,
        frames=len(scanned),
        cracked_frames=sum(record["cracked"] for record in scanned),
        regions=sum(len(record["regions"]) for record in scanned),
        gaps=sum(record["type"] == "gap" for record in kept),
        next_index=max((record["index"] + 1 for record in scanned), default=0),
        files=tuple(as_text(record["file"]) for record in scanned if "file" in record),
        threshold=next((one["window_threshold"] for one in reversed(kept) if one["type"] == "setting"), None),
    )


def _first(records: list[Record], frames: int) -> Iterator[Record]:
    """The records of the first frames, and the gaps and settings before them."""
    last = [number for number, record in enumerate(records) if record["type"] == "frame"][:frames]
    return (one for one in itertools.islice(records, last[-1] + 1 if last else 0) if one["type"] in _KEPT)


def _cut_images(images: Path, frames: int) -> int:
    """For how many frames there are images, the last of which may have been cut off."""
    there = sum(1 for _ in images.iterdir()) if images.is_dir() else 0
    return min(frames, max(0, there - 1))


def _cut_video(video: Path, frames: int) -> int:
    """For how many frames there are pictures, once those beyond are gone and the rest is a segment."""
    parts = segments.set_aside(video)
    pictures = segments.picture_count(parts)
    if pictures > frames:
        segments.join(video, parts, most=frames)
        segments.set_aside(video)
    return min(frames, pictures)


def check_same(where: Path, header: Record) -> None:
    """Refuse to go on with results of another run.

    Args:
        where: the folder of the results, which has some.
        header: of the run that goes on; model, source and plan must be the same, and the files that were scanned.

    Raises:
        OptionError: they are not.
    """
    records = _lines(where / result_folder.RESULTS)
    earlier, now = (json.loads(json_line(record)) for record in (next(records), header))
    for name in _MUST_AGREE:
        before, after = _comparable(earlier.get(name)), _comparable(now[name])
        if before != after:
            raise OptionError(
                f"{where}: its results are of another {name} ({_difference(before, after)}); "
                "give the options of the interrupted run, or another folder"
            )
    files, again = _files_now(header), bool(now["source"].get("reading", {}).get("loop"))
    for record in records if now["source"]["kind"] == "images" else ():
        index, file = record.get("index", 0), record.get("file")
        found = files[index] if index < len(files) else None
        if file is not None and found != as_text(file) and not (again and found is None):
            raise OptionError(
                f"{where}: its results are of other files (index {index} {as_text(file)}, now {found}); "
                "give the files of the interrupted run, those that are new behind them, or another folder"
            )


def _files_now(header: Record) -> list[str]:
    """The files of a source of images as they are now, by their indices; none where it is gone, or of another kind."""
    if header["source"]["kind"] != "images":
        return []
    try:
        addresses = find_addresses(header["source"]["uri"])
    except CrackedgeError:
        return []
    return [as_text(file) for address in addresses if address.kind == "images" for file in address.files]


def _has_others(header: Record) -> bool:
    """Whether images came or went since a run saw the last of them."""
    frames: int | None = header["source"]["frames"]
    if header["source"]["kind"] != "images" or frames is None:
        return False
    reading = header["source"].get("reading", {})
    options = SourceOptions(**{name: reading[name] for name in _SELECTING if name in reading})
    files = _files_now(header)
    return bool(files) and options.selection().count(len(files), fps=options.fps) != frames


def _comparable(part: Any) -> Any:
    return {key: part[key] for key in part if key not in _MAY_DIFFER} if isinstance(part, dict) else part


def _difference(before: Any, after: Any) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        key = next(key for key in {**before, **after} if before.get(key) != after.get(key))
        return f"{key} {before.get(key)}, now {after.get(key)}"
    return f"{before}, now {after}"


def _lines(results: Path) -> Iterator[Record]:
    """The records that are whole; a killed run's last line may not be."""
    if not results.exists():
        return
    with results.open("rb") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                return
            if not (line.endswith(b"\n") and isinstance(record, dict) and "type" in record):
                return
            yield record
