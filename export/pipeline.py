"""From a network to model files that a robot can trust: convert, compare, calibrate, measure, write."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from crackedge.benchmarks.card_calibration import doubts
from crackedge.benchmarks.data_sets import SPLITS, LabelledSet, find_held_out
from crackedge.benchmarks.table import text
from crackedge.edge_runtime.errors import CrackedgeError, DataError, ModelError, OptionError, OutputError, ProofError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.models import golden
from crackedge.edge_runtime.models.card import ModelCard, append_card, trained_on
from crackedge.edge_runtime.models.model import open_model
from crackedge.edge_runtime.output_file import require_free
from crackedge.export import held_out, parity, variants
from crackedge.export.convert import QUANTISED, VARIANTS, Log, convert, front_of, with_probability
from crackedge.export.held_out import Report
from crackedge.export.origin import Origin, open_origin
from crackedge.export.parity import Logits
from crackedge.export.quantisation import PICTURES, quantise
from crackedge.export.representative import Representative, from_footage, from_sets

HEADS = ("logit-map", "probability")
_FEW = 24  # pictures of a set, that prove an int16x8 file: its kernels take half a second for a tile


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that an export wrote.

    Attributes:
        path: the model file.
        size: its bytes, card included.
        card: its card.
    """

    path: Path
    size: int
    card: ModelCard

    @property
    def agreement(self) -> str:
        """How far it decides as the float32 file does, in a line: the set where it does so least."""
        if not any(self.card.metrics.values()):
            return "how well it decides was not measured: too few photographs are held out"
        by_engine = self.card.quantization_check["sets"]
        share, name, engine = min(
            (figures["decisions_equal"], name, engine)
            for engine, sets in by_engine.items()
            for name, figures in sets.items()
        )
        n = by_engine[engine][name]["n"]
        return f"on every set at least {share:.1%} of decisions are float32's ({name}, {n} windows, engine {engine})"

    @property
    def figures(self) -> list[str]:
        """How well it decides, a line for each set, by the engine that runs it unless another is asked for."""
        engine = "dense" if self.card.head == "logit-map" else "tiles"
        measured = self.card.metrics[engine]
        return [
            _in_a_line(name, measured[name]) if name in measured else f"{name}: no figures, too few photographs"
            for name in self.card.quantization_check["sets"][engine]
        ]


@dataclass(frozen=True, slots=True)
class Export:
    """What an export came to.

    Attributes:
        files: what was written.
        failed: why other variants were not, by variant; where none passes, an error is raised.
        table: the variants side by side, see :func:`crackedge.export.variants.table`; None for a single one.
        notes: what was recognised in the source.
        doubts: what the figures give reason to ask, where a network tells nothing apart or the wrong way round.
        log: what the converter said, where a variant failed.
    """

    files: tuple[Exported, ...]
    failed: Mapping[str, str]
    table: Mapping[str, Any] | None
    notes: tuple[str, ...]
    doubts: tuple[str, ...]
    log: Path | None


@dataclass(frozen=True, slots=True, eq=False)
class _Subject:
    """A network, and what its files are held against.

    Attributes:
        name: of the model.
        network: what Keras computes, with the head that the files shall have.
        head: that head.
        config: of the training run.
        sets: the photographs that were held out.
        fitting: names of those whose first half gives ranges and calibration: the sets trained on, where any are here.
        footage: what gives the ranges instead.
        log: is given what the converter says.
        report: is told each stage.
        float32: the flatbuffer of its float32 file.
        from_keras: how far that is from Keras, for the card.
        logits: what that says of the photographs.
    """

    name: str
    network: keras.Model
    head: str
    config: Mapping[str, Any]
    sets: Sequence[LabelledSet]
    fitting: frozenset[str]
    footage: str | None
    log: Log
    report: Report
    float32: bytes = b""
    from_keras: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    logits: Logits = dataclasses.field(default_factory=dict)
    _read: dict[int, Representative] = dataclasses.field(default_factory=dict)

    def representative(self, count: int) -> Representative:
        """About so many pictures from which ranges of activations are read."""
        if count not in self._read:
            self.report("calibration pictures")
            chosen = [one for one in self.sets if one.name in self.fitting]
            self._read[count] = from_footage(self.footage, count) if self.footage else from_sets(chosen, count)
        return self._read[count]

    def pictures(self, count: int) -> Sequence[Image]:
        """The same, of a size that the network takes."""
        found = self.representative(count)
        return found.pictures if self.head == "logit-map" else found.tiles()


def export_network(
    source: Path,
    output: Path,
    *,
    data_root: Path,
    wanted: Sequence[str] = ("int8",),
    pick: bool = False,
    calibrate_from: str | None = None,
    head: str | None = None,
    name: str | None = None,
    input_range: str | None = None,
    crack_index: int = 1,
    overwrite: bool = False,
    report: Report = lambda _: None,
) -> Export:
    """Write a network as ``.tflite`` files with their cards inside, proven on validation photographs.

    What the converters say is kept, in ``NAME-export.log``, where something fails.

    Args:
        source: the folder of a training run, or a Keras file; see :func:`crackedge.export.origin.open_origin`.
        output: the file to write. Several variants lie beside each other, ``NAME-int8.tflite`` and so on, with
            ``NAME-variants.json`` and ``.html``.
        data_root: a folder of data sets, whose ``val`` splits give proof, calibration and figures.
        wanted: which of :data:`crackedge.export.convert.VARIANTS`.
        pick: of several, keep only the fastest that was proven, as ``output``.
        calibrate_from: footage that gives the ranges of activations, in place of the photographs.
        head: ``"logit-map"``, or ``"probability"`` for the conventional classifier; None takes what the source gives.
        name: of the model; the recipe's unless given.
        input_range: see ``open_origin``.
        crack_index: see ``open_origin``.
        overwrite: replace what exists.
        report: called with the name of each stage.

    Raises:
        OptionError: an option has a value that cannot be used.
        DataError: no photographs to prove it with, some that it was trained on, or not the folder of a training run.
        ModelError: the source cannot be read.
        SourceError: the footage cannot be read.
        OutputError: a file exists or cannot be written.
        ProofError: no file computes what the network does, or the calibration pictures are unfit.
    """
    _check_options(wanted, pick=pick, head=head, calibrate_from=calibrate_from, output=output)
    several = len(wanted) > 1
    beside = several and not pick
    targets = {one: output.with_name(f"{output.stem}-{one}.tflite") if beside else output for one in wanted}
    pages = [output.with_name(f"{output.stem}-variants{suffix}") for suffix in (".json", ".html")] if several else []
    for path in (*targets.values(), *pages):
        require_free(path, overwrite=overwrite)
    report("reading the network")
    origin = open_origin(source, input_range=input_range, crack_index=crack_index)
    log = output.with_name(f"{output.stem}-export.log")
    said: list[str] = []
    with _workshop(output, log, said) as folder:
        subject = _subject(
            origin,
            data_root,
            head=head,
            name=name,
            footage=calibrate_from,
            wanted=wanted,
            log=said.append,
            report=report,
            output=output,
        )
        made, failed = _make_all(subject, wanted, folder, output)
        table = None
        if several:
            report("measuring the variants")
            table = variants.table({one: (file.card, file.path) for one, file in made.items()}, failed)
            if pick:
                best = variants.fastest(table)
                made = {best: made[best]}
            for page, text in zip(pages, (json.dumps(table, indent=1) + "\n", variants.to_html(table)), strict=True):
                (folder / page.name).write_text(text, encoding="utf-8")
                (folder / page.name).replace(page)
        files = tuple(Exported(file.path.replace(targets[one]), file.size, file.card) for one, file in made.items())
    _keep(log, said if failed else [])
    asked = _doubts(files[0].card, foreign=not source.is_dir(), input_range=input_range, crack_index=crack_index)
    return Export(files, failed, table, origin.notes, asked, log if failed else None)


def _check_options(
    wanted: Sequence[str], *, pick: bool, head: str | None, calibrate_from: str | None, output: Path
) -> None:
    if not wanted or len(set(wanted)) < len(wanted) or not set(wanted) <= set(VARIANTS):
        raise OptionError(f"variants {', '.join(wanted) or 'none'}: expected some of {', '.join(VARIANTS)}, each once")
    if pick and len(wanted) == 1:
        raise OptionError("one variant: there is nothing to pick from; give several variants")
    if head not in (None, *HEADS):
        raise OptionError(f"head {head!r}: expected one of {', '.join(HEADS)}")
    if calibrate_from is not None and not set(wanted) & set(QUANTISED):
        raise OptionError(
            f"calibrate_from {calibrate_from}: has no effect on {', '.join(wanted)}; leave it out, or export one of "
            f"{', '.join(QUANTISED)}"
        )
    if output.suffix.lower() != ".tflite":
        raise OptionError(f"{output}: expected a name that ends in .tflite; what is written is a TFLite file")


def _in_a_line(name: str, figures: Mapping[str, Any]) -> str:
    shown = ", ".join(
        f"{title} {text(figures[key])}"
        for title, key in (("accuracy", "accuracy"), ("recall", "recall"), ("AUC", "auc"))
    )
    return f"{name}: {shown} (n={figures['n']}, {figures['n_crack']} with cracks)"


def _doubts(card: ModelCard, *, foreign: bool, input_range: str | None, crack_index: int) -> tuple[str, ...]:
    """What the figures give reason to ask, with the options that may be wrong; a training run has none of them."""
    if foreign:
        reversed_by = f"is the crack the other output (--crack-index {1 - crack_index})?"
    else:
        reversed_by = "are cracked and crack-free the wrong way round in these photographs?"
    blind_by = "has its training taught it anything?" if input_range is None else "is --input-range right?"
    return tuple(doubts(card.metrics, reversed_by=reversed_by, blind_by=blind_by))


@contextlib.contextmanager
def _workshop(output: Path, log: Path, said: Sequence[str]) -> Iterator[Path]:
    """A hidden folder beside the output, where files are made before they take their place; then nothing is left of it.

    Where a proof fails, what was said until then goes into the log, and the error says so.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=f".{output.stem}-", dir=output.parent) as folder:
            yield Path(folder)
    except (ProofError, ModelError) as error:  # a file was made, and it is wrong, or the interpreter does not run it
        _keep(log, said)
        raise ProofError(f"{error}; what the converter said stands in {log}" if said else str(error)) from error
    except CrackedgeError:  # some of them are OSErrors
        raise
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror or error})") from error


def _keep(log: Path, said: Sequence[str]) -> None:
    """Write the log, or remove that of an earlier try. A disk that is full shall not hide what failed."""
    with contextlib.suppress(OSError):
        if said:
            log.write_text("\n".join(said), encoding="utf-8")
        else:
            log.unlink(missing_ok=True)


def _subject(
    origin: Origin,
    data_root: Path,
    *,
    head: str | None,
    name: str | None,
    footage: str | None,
    wanted: Sequence[str],
    log: Log,
    report: Report,
    output: Path,
) -> _Subject:
    """The network with its float32 file, which is held against Keras, so that others can be held against it."""
    head = head or origin.head
    if head == "logit-map" and origin.head == "probability":
        raise OptionError(f"head 'logit-map': {'; '.join(origin.notes)}")
    network = origin.network if head == origin.head else with_probability(origin.network)
    sets = _held_out(data_root, origin.config)
    trained = {one["name"] for one in origin.config["sets"]} & {one.name for one in sets}
    subject = _Subject(
        name=name or str(origin.config["recipe"]["name"]),
        network=network,
        head=head,
        config=origin.config,
        sets=sets,
        fitting=frozenset(trained or {one.name for one in sets}),
        footage=footage,
        log=log,
        report=report,
    )
    if set(wanted) & set(QUANTISED):
        subject.representative(PICTURES[0])  # the sooner it is refused, the better
    report("float32")
    float32 = convert(network, variant="float32", head=head, pictures=(), log=log)
    if head == "logit-map":
        parity.require_any_size(float32, origin=str(output))
    from_keras = parity.require_same(network, float32, head=head, origin=str(output))
    logits = held_out.collect(float32, _card(subject, "float32"), sets, report)
    return dataclasses.replace(subject, float32=float32, from_keras=from_keras, logits=logits)


def _held_out(data_root: Path, config: Mapping[str, Any]) -> list[LabelledSet]:
    """The photographs that a run did not train on, their masks read by the values of the run.

    A ``val`` folder is taken at its word. A set without one is whole: where the run trained on it, it is left out as
    in training, unless its photographs are by their names those that were held out.

    Raises:
        DataError: as :func:`crackedge.benchmarks.data_sets.find_held_out`; nothing is left; or there is a whole set of
            which the run held out a part, as there is where the run was on a pack of these data.
    """
    inside = config.get("split_inside", {})
    found = find_held_out(data_root, inside)
    before = {one["name"]: one for one in config.get("held_out", ())}
    trained = set() if inside else {one["name"] for one in config["sets"]}
    whole = [
        one
        for one in found
        if one.name in trained
        and one.path.resolve().name not in SPLITS["val"]
        and one.names_sha256 != before.get(one.name, {}).get("names_sha256")
    ]
    if len(whole) == len(found) or any(one.name in before for one in whole):
        raise DataError(
            f"{data_root}: its {', '.join(one.name for one in whole)}: not the photographs the run held out; give the "
            f"data it was trained on: {config.get('data_root', 'a folder or a pack with val/ in it')}"
        )
    return [
        dataclasses.replace(one, value_clear=tuple(before.get(one.name, {}).get("value_clear", ())))
        for one in found
        if one not in whole
    ]


def _make_all(
    subject: _Subject, wanted: Sequence[str], folder: Path, output: Path
) -> tuple[dict[str, Exported], dict[str, str]]:
    """The files of all variants that can be proven, and why the others cannot.

    Raises:
        ProofError: none can.
    """
    made: dict[str, Exported] = {}
    failed: dict[str, str] = {}
    for variant in wanted:
        try:
            flatbuffer, card = _make(subject, variant)
            path = folder / f"{variant}.tflite"
            path.write_bytes(append_card(flatbuffer, card))
            made[variant] = Exported(path, path.stat().st_size, open_model(path).card)
        except (ProofError, ModelError) as error:  # noqa: PERF203 - each variant stands for itself
            failed[variant] = str(error)
    if not made:
        raise ProofError(f"{output}: nothing was written; {'; '.join(failed.values())}")
    return made, failed


def _make(subject: _Subject, variant: str) -> tuple[bytes, ModelCard]:
    """One variant's flatbuffer and card.

    Raises:
        ProofError: it cannot be made, or does not compute what the network does.
        ModelError: the interpreter does not run it.
    """
    subject.report(variant)
    card = _card(subject, variant)
    check: dict[str, Any] = {"tolerance": parity.TOLERANCE, "float32_file": dict(subject.from_keras)}
    calibrated_with = PICTURES[0]
    if variant == "int8":
        quantised = quantise(
            subject.network,
            head=subject.head,
            pictures=subject.pictures,
            judge=lambda flatbuffer: _judge(subject, flatbuffer, card),
            log=subject.log,
        )
        judged, calibrated_with = quantised.judged, quantised.wanted
        check["measures"] = list(quantised.measures)
        check["worst_layers"] = [layer.as_dict() for layer in quantised.worst_layers]
    elif variant == "float32":
        judged = _judge(subject, subject.float32, card)
    else:
        pictures = subject.pictures(calibrated_with) if variant in QUANTISED else ()
        made = convert(subject.network, variant=variant, head=subject.head, pictures=pictures, log=subject.log)
        judged = _judge(subject, made, card)
    if judged.faults:
        tried = "; ".join(one["measure"] for one in check.get("measures", ()))
        raise ProofError(
            f"{variant}: does not decide as the network does ({'; '.join(judged.faults[:3])})"
            f"{f', after {tried}' if tried else ''}; take another variant, or --calibrate-from the mission's footage"
        )
    if variant in QUANTISED:
        check["calibrated_on"] = subject.representative(calibrated_with).source
    check["sets"] = {
        engine: {name: agreement.as_dict() for name, agreement in sets.items()}
        for engine, sets in judged.agreements.items()
    }
    metrics = held_out.measure(judged.logits, judged.calibration, subject.fitting, card.default)
    return judged.flatbuffer, dataclasses.replace(
        card,
        calibration=judged.calibration,
        metrics=metrics,
        notes=_notes(subject, metrics),
        quantization_check=check,
        golden=golden.record(judged.flatbuffer, quantised=not variant.startswith("float"), origin=variant),
    )


def _judge(subject: _Subject, flatbuffer: bytes, card: ModelCard) -> parity.Judged:
    """Hold a file against the contract and the float32 file.

    Raises:
        ProofError: its input or its graph is not what its card says.
        ModelError: it does not run.
    """
    variant = card.quantization
    parity.require_front(flatbuffer, front_of(subject.network, variant=variant, head=subject.head), origin=variant)
    if subject.head == "logit-map":
        parity.require_any_size(flatbuffer, origin=variant)
    sets, reference = subject.sets, subject.logits
    if variant == "int16x8":
        sets = [dataclasses.replace(one, items=one.items[:: -(-len(one.items) // _FEW)]) for one in subject.sets]
        reference = held_out.collect(subject.float32, _card(subject, "float32"), sets, subject.report)
    logits = reference if flatbuffer is subject.float32 else held_out.collect(flatbuffer, card, sets, subject.report)
    calibration = held_out.calibrate(subject.logits if variant == "int16x8" else logits, subject.fitting)
    return parity.judge(flatbuffer, logits, calibration, card.default, reference=reference)


def _card(subject: _Subject, variant: str) -> ModelCard:
    """The card, but for what has to be measured."""
    config, recipe = subject.config, subject.config["recipe"]
    width = f" alpha {recipe['alpha']:g}" if str(recipe["backbone"]).startswith("mobilenet") else ""
    lineage = config.get("lineage", {"models": (), "data_sets": ()})
    distances = [distance for one in config["sets"] for distance in one.get("gsd_mm", ())]
    return ModelCard(
        name=subject.name,
        version=str(config.get("version", "1")),
        head=subject.head,
        quantization=variant,
        input_dtype=front_of(subject.network, variant=variant, head=subject.head).dtype,
        backbone=f"{recipe['backbone']}{width}",
        data_sets=(*trained_on(config["sets"]), *lineage["data_sets"]),
        lineage=tuple(lineage["models"]),
        training=config.get("training", {}),
        gsd_mm=(min(distances), max(distances)) if distances else None,
        tools={
            **config.get("tools", {}),
            "crackedge": importlib.metadata.version("crackedge"),
            "tensorflow": importlib.metadata.version("tensorflow"),
        },
    )


def _notes(subject: _Subject, metrics: Mapping[str, Any]) -> str:
    """What the calibration and the figures are from; sets of few photographs have none."""
    measured = {name for sets in metrics.values() for name in sets}
    without = ", ".join(sorted(subject.fitting - measured))
    figures = "their figures are from the second half" if subject.fitting & measured else "none of them has figures"
    return (
        f"Calibrated on the first half, in the order of names, of the validation photographs of "
        f"{', '.join(sorted(subject.fitting))}; {figures}"
        f"{f' (too few windows of {without})' if without else ''}"
        f"{', those of other sets from all of it' if measured - subject.fitting else ''}. "
        f"Pretrained weights: {subject.config.get('weights')}"
    )
