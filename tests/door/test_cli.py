"""The commands as people type them: what they print, what they leave behind, and how they end."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import click
import jsonschema
import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

import crackedge as package
from crackedge.cli import cli, main
from crackedge.edge_runtime.models.card import SCHEMA, ModelCard
from crackedge.edge_runtime.models.model import open_model, shipped_models
from crackedge.edge_runtime.sinks.marked_video import PRESETS

REPOSITORY = Path(__file__).resolve().parents[2]
COMMANDS = ("bench", "calibrate", "evaluate", "export", "info", "run", "train", "tune", "verify")

Crackedge = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str


Call = Callable[..., Done]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """``main()`` on some arguments, in this process: no start-up to wait for, and every warning is an error."""

    def run_main(*arguments: str | Path) -> Done:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["crackedge", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, *capfd.readouterr())

    return run_main


@pytest.fixture
def photo(tmp_path: Path) -> Callable[..., Path]:
    """Writes a bright photograph, two thirds of it black where it is to be cracked."""

    def write(name: str, *, cracked: bool = True) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((240, 320, 3), 230, np.uint8)
        if cracked:
            pixels[:, 96:] = 0
        PIL.Image.fromarray(pixels).save(path)
        return path

    return write


def records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What is said without doing anything


def test_there_are_these_commands() -> None:
    assert tuple(cli.list_commands(click.Context(cli))) == COMMANDS


def named(command: str) -> click.Command:
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    return found


def examples(name: str) -> Iterator[list[str]]:
    """Arguments of the example lines in a command's help."""
    done = CliRunner().invoke(cli, [*([name] if name else []), "--help"])
    assert done.exit_code == 0
    for line in done.output.splitlines():
        if line.strip().startswith("crackedge "):
            yield shlex.split(line.partition("   ...")[0])[1:]


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_help_has_examples_that_can_be_typed(name: str) -> None:
    found = list(examples(name))
    assert found
    for command, *arguments in found:
        assert name in ("", command)
        known = [argument for argument in arguments if argument.startswith("-")]
        options = {text for parameter in named(command).params for text in parameter.opts}
        assert set(known) <= options
        if name:
            named(command).make_context(command, arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    for option in named(name).params:
        assert not isinstance(option, click.Option) or option.help or isinstance(option.type, click.Choice), option.name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_exit_codes(name: str) -> None:
    assert "exit code" in (named(name).help or "").lower()


def test_the_help_names_the_shipped_models_that_state_no_scale() -> None:
    (option,) = (option for option in named("run").params if option.name == "gsd_mm")
    assert isinstance(option, click.Option)
    for name in shipped_models():
        assert (name in (option.help or "")) == (open_model(name).card.gsd_mm is None)


def loaded_by(*arguments: str | Path) -> set[str]:
    """The modules that a process of its own has loaded at the end of a command."""
    program = """
import sys
from crackedge.cli import main
try:
    main()
except SystemExit as ended:
    assert ended.code == 0
print(*sys.modules, file=sys.stderr)
"""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_help_loads_nothing_heavy() -> None:
    loaded = loaded_by("--help")
    assert "crackedge.commands.train" in loaded
    assert not {"numpy", "cv2", "av", "PIL", "ai_edge_litert", "tensorflow", "keras", "matplotlib"} & loaded


def test_a_photograph_loads_only_what_it_needs(photo: Callable[..., Path], tiny_model: Path, tmp_path: Path) -> None:
    loaded = loaded_by(
        "run", photo("wall.png"), "-m", tiny_model, "-o", tmp_path / "out", "--threads", "1", "--no-video"
    )
    assert "PIL.PngImagePlugin" in loaded
    assert not {"av", "importlib.metadata", "crackedge.commands.train", "crackedge.edge_runtime.sources.live"} & loaded


@pytest.mark.parametrize("given", [None, "3"])
def test_a_run_leaves_the_environment_of_sinks_programs_alone(
    call: Call, photo: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", given)
    assert call("run", photo("wall.png"), "-m", tmp_path / "absent.tflite", "-o", tmp_path / "out").code == 1
    assert os.environ.get("OPENBLAS_NUM_THREADS") == given


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("run scene: --refresh-s 1", "--refresh-s 1: expected with reuse, --max-latency-ms or --target-fps"),
        ("run scene: --part-mb 3 --keep-mb 1", "--part-mb 3: expected at most half of --keep-mb 1"),
        ("run scene: --resume", "--resume: expected the folder of the interrupted run; give -o"),
        ("run scene: --size 9x9", "scene:: --size does not apply; only cameras can be asked for one"),
        ("run --camera 0 --no-realtime", "--camera 0: --no-realtime does not apply; only files and pipes can"),
    ],
)
def test_options_are_called_what_one_types(call: Call, arguments: str, line: str) -> None:
    done = call(*arguments.split())
    assert done.code == 2
    assert done.err.startswith(f"crackedge: {line}")


def test_keys_of_a_recipe_are_no_options(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("learning_rate = nan")
    done = call("train", "--recipe", tmp_path / "mine.toml", "--data-root", tmp_path)
    assert done.err.startswith(f"crackedge: {tmp_path / 'mine.toml'}: learning_rate = nan")


def test_the_version(call: Call) -> None:
    done = call("--version")
    assert done.code == 0
    assert done.out.startswith("crackedge, version 0.")


# A run


def test_a_folder_of_images(call: Call, photo: Callable[..., Path], tiny_model: Path, tmp_path: Path) -> None:
    for name, cracked in (("p10.png", True), ("p2.png", False), ("p1.png", True)):
        photo(f"photos/{name}", cracked=cracked)
    out = tmp_path / "out"
    done = call("run", tmp_path / "photos", "-o", out, "--model", tiny_model)
    assert done.code == 0
    assert done.out.startswith(f"{out}: 3 frames, 2 with cracks, ")
    assert done.out.count("\n") == 1
    assert "model tiny, engine dense, stride 32" in done.err
    header, *frames, summary = records(out)
    assert (header["type"], summary["type"], summary["reason"]) == ("header", "summary", "end")
    assert [Path(frame["file"]).name for frame in frames] == ["p1.png", "p2.png", "p10.png"]
    assert [frame["cracked"] for frame in frames] == [True, False, True]
    assert "scores" not in frames[0]
    assert len(list((out / "marked").iterdir())) == 3
    schema = json.loads((REPOSITORY / "docs" / "results.schema.json").read_text(encoding="utf-8"))
    for record in records(out):
        jsonschema.validate(record, schema)


def test_options_reach_the_run(call: Call, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = "--engine tiles --stride 64 --threshold 0.25 --threads 1 --max-frames 2 --scores --no-video"
    scene = "scene:concrete?frames=9&size=320x240&cracks=1&distractors=0"
    assert call("run", scene, "-o", out, "--model", tiny_model, *options.split()).code == 0
    header, *frames, summary = records(out)
    plan = header["plan"]
    assert (plan["engine"], plan["stride"], plan["window_threshold"], plan["threads"]) == ("tiles", 64, 0.25, 1)
    assert (len(frames), summary["reason"]) == (2, "max-frames")
    assert frames[0]["scores"]["values"]
    assert sorted(files(out)) == ["results.jsonl"]


def test_without_an_output_the_results_have_a_folder_of_their_own(
    call: Call, photo: Callable[..., Path], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photo("pier.png")
    monkeypatch.chdir(tmp_path)
    assert call("run", path, "--model", tiny_model).code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("pier-20")
    assert {"results.jsonl", "marked"} == {entry.name for entry in folder.iterdir()}


def test_cracks_can_be_an_exit_code(call: Call, photo: Callable[..., Path], tiny_model: Path, tmp_path: Path) -> None:
    options = ("--fail-on-crack", "--model", tiny_model, "-o", tmp_path / "out")
    assert call("run", photo("whole.png", cracked=False), *options).code == 0
    assert call("run", photo("cracked.png"), *options).code == 10


def test_a_broken_image_among_good_ones_is_skipped_and_named(
    call: Call, photo: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    for number in range(3):
        photo(f"photos/{number}.png")
    broken = tmp_path / "photos" / "1.png"
    broken.write_bytes(broken.read_bytes()[:100])
    done = call("run", tmp_path / "photos", "-o", tmp_path / "out", "--model", tiny_model)
    assert done.code == 0
    assert f"warning: {broken}: skipped, " in done.err
    *_, summary = records(tmp_path / "out")
    assert summary["frames"] == 2
    assert [Path(skipped["file"]) for skipped in summary["skipped"]] == [broken]


def test_names_that_are_not_utf_8_are_told_apart(
    call: Call, photo: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    site, out = tmp_path / os.fsdecode(b"f\xe4hre"), tmp_path / "out"
    name = os.fsdecode(b"br\xfccke.png")
    photo(f"{site.name}/crack/{name}")
    photo(f"{site.name}/no_crack/{name}", cracked=False)
    assert call("run", site / "crack" / name, "-o", out, "--model", tiny_model, "--threads", "1").code == 0
    assert Path(records(out)[1]["file"]).name == name.encode(errors="backslashreplace").decode()
    figures, made = tmp_path / "figures.json", tmp_path / "made.tflite"
    assert call("evaluate", site, "--model", tiny_model, "--threads", "1", "--json", figures).code == 0
    (found,) = json.loads(figures.read_text(encoding="utf-8"))["sets"].items()
    assert (found[0], found[1]["items"][0]["file"]) == (site.name, f"crack/{name}")
    assert call("calibrate", tiny_model, site, "--threads", "1", "-o", made).code == 0
    assert open_model(made).card.data_sets[-1]["name"] == site.name


@pytest.mark.parametrize(("value_clear", "windows"), [((), 2), ((64,), 1), ((0, 64), 2)])
def test_a_mask_s_values_mean_what_is_said_of_them(
    call: Call, photo: Callable[..., Path], tiny_model: Path, tmp_path: Path, value_clear: tuple[int, ...], windows: int
) -> None:
    site = photo("site/images/bridge.png", cracked=False).parent.parent
    photo("site/images/road.png", cracked=False)
    (site / "masks").mkdir()
    for name, value in (("bridge", 64), ("road", 0)):
        PIL.Image.fromarray(np.full((240, 320), value, np.uint8)).save(site / "masks" / f"{name}.png")
    figures = tmp_path / "figures.json"
    options = [part for value in value_clear for part in ("--value-clear", value)]
    assert call("evaluate", site, "--model", tiny_model, "--threads", "1", "--json", figures, *options).code == 0
    assert json.loads(figures.read_text(encoding="utf-8"))["sets"]["site"]["n"] == windows


def test_ctrl_c_ends_a_run_with_everything_readable(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    scene = "scene:concrete?frames=100000&size=320x240&cracks=1&distractors=0"
    command = [sys.executable, "-m", "crackedge", "run", scene, "-o", str(out), "--model", str(tiny_model)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline_s = time.monotonic() + 60
        results = out / "results.jsonl"
        while not (results.exists() and results.read_bytes().count(b"\n") > 5):
            assert time.monotonic() < deadline_s, "no results"
            assert running.poll() is None, running.communicate()
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130
    assert "Traceback" not in err
    *frames, summary = records(out)[1:]
    assert (summary["type"], summary["reason"], summary["frames"]) == ("summary", "interrupted", len(frames))
    with av.open(str(out / "marked.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == len(frames)


# What cannot be done


@dataclass(frozen=True, slots=True)
class World:
    """A folder with things that are wrong, and one with the results of an earlier run."""

    root: Path
    out: Path
    photo: Path
    model: Path


@pytest.fixture
def world(
    call: Call,
    photo: Callable[..., Path],
    tiny_model: Path,
    write_model: Callable[..., Path],
    card: Callable[..., ModelCard],
    tmp_path: Path,
) -> World:
    good = photo("good.png")
    write_model("logit-map-int8", card=card(schema=SCHEMA + 1)).rename(tmp_path / "newer.tflite")
    (tmp_path / "foreign.tflite").write_bytes(good.read_bytes())
    (tmp_path / "cut.tflite").write_bytes(tiny_model.read_bytes()[:500])
    (tmp_path / "broken.png").write_bytes(good.read_bytes()[:60])
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 20)
    with av.open(str(tmp_path / "empty.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("a letter")
    (tmp_path / "nothing").mkdir()
    out = tmp_path / "out"
    assert call("run", good, "-o", out, "--model", tiny_model).code == 0
    return World(tmp_path, out, good, tiny_model)


FAILURES = {
    "missing file": (1, "run absent.mp4 -o {out}", "absent.mp4: no such file or folder"),
    "video of zero frames": (1, "run {root}/empty.mp4 -o {out} -m {model}", "empty.mp4: no video in it"),
    "no video at all": (1, "run {root}/noise.mp4 -o {out} -m {model}", "noise.mp4: "),
    "one broken image": (1, "run {root}/broken.png -o {out} -m {model}", "broken.png: "),
    "folder without images": (1, "run {root}/letters -o {out} -m {model}", "letters: no image or video"),
    "foreign model": (1, "run {photo} -o {out} -m {root}/foreign.tflite", "foreign.tflite: not a TFLite file"),
    "model cut off": (1, "run {photo} -o {out} -m {root}/cut.tflite", "cut.tflite: "),
    "card of a newer schema": (1, "run {photo} -o {out} -m {root}/newer.tflite", "upgrade crackedge"),
    "missing area": (1, "run {photo} -o {out} -m {model} --roi {root}/absent.json", "absent.json: cannot be read"),
    "missing delegate": (
        1,
        "run {photo} -o {out} -m {model} --delegate {root}/absent.so",
        "absent.so: cannot be loaded",
    ),
    "a video as bare frames": (2, "run {root}/noise.mp4 -o {out} -m {model} --raw 9x9", "noise.mp4: --raw is for bare"),
    "missing model": (1, "run {photo} -o {out} -m absent", "absent: no such model file"),
    "foreign output": (1, "run {photo} -o {root}/letters -m {model}", "letters: holds files that are not results"),
    "output is a file": (1, "run {photo} -o {photo} -m {model}", "good.png: a file"),
    "output under a file": (1, "run {photo} -o {photo}/out -m {model}", "good.png/out: cannot be written"),
    "output over the source": (1, "run {out}/marked -o {out} -m {model}", "out: the source "),
    "threshold above 1": (2, "run {photo} -o {out} -m {model} --threshold 3", "threshold 3.0: expected"),
    "stride off the lattice": (2, "run {photo} -o {out} -m {model} --stride 33", "stride 33"),
    "unknown operating point": (2, "run {photo} -o {out} -m {model} --operating-point bold", "'bold'"),
    "unknown scene": (2, "run scene:cheese -o {out} -m {model}", "surface 'cheese'"),
    "unknown kind of address": (2, "run gopher://pier/ -o {out} -m {model}", "gopher:// is not read"),
    "missing camera": (3, "run --camera 63 -o {out} -m {model}", "/dev/video63: no such camera"),
    "missing camera as source": (3, "run 63 -o {out} -m {model}", "/dev/video63: no such camera"),
    "missing data": (1, "evaluate {root}/absent -m {model}", "absent: no such folder"),
    "no labelled data": (1, "evaluate {root}/letters -m {model}", "letters: no labelled set"),
    "no data": (1, "evaluate {root}/nothing -m {model}", "nothing: no labelled set"),
    "report nowhere": (1, "evaluate {root} -m {model} --json {root}/absent/f.json", "f.json: cannot be written"),
    "bench of a foreign file": (1, "bench {root}/foreign.tflite", "foreign.tflite: not a TFLite file"),
    "bench of no size": (2, "bench {model} --size huge", "size 'huge': expected WIDTHxHEIGHT"),
    "bench of missing footage": (1, "bench {model} --source absent.mp4", "crackedge: absent.mp4: no such file"),
    "proof of no model": (1, "verify {photo}", "good.png: not a TFLite file"),
    "bench for no time": (2, "bench {model} --duration 0", "duration 0"),
    "a look into a foreign file": (1, "info {root}/foreign.tflite", "foreign.tflite: not a TFLite file"),
    "a look into nothing": (1, "info absent", "absent: no such model file"),
    "samples nowhere": (1, "bench {model} --json {root}/absent/f.json", "f.json: cannot be written"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_cannot_be_done_is_one_line_and_harms_nothing(name: str, call: Call, world: World) -> None:
    code, command, words = FAILURES[name]
    before = files(world.root)
    places = {"root": world.root, "out": world.out, "photo": world.photo, "model": world.model}
    done = call(*(argument.format(**places) for argument in command.split()))
    assert done.code == code, done.err
    (line,) = (line for line in done.err.splitlines() if line.startswith("crackedge: "))
    assert done.err.splitlines()[-1] == line
    assert words in line
    assert done.out == ""
    assert files(world.root) == before


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("run", "no source: give a video"),
        ("run x.mp4 --engine magic", "'magic' is not one of 'auto', 'tiles', 'dense'"),
        ("run x.mp4 --bogus", "--bogus"),
        ("run x.mp4 --max-frames 0", "0 is not in the range"),
        ("run x.mp4 --preset bold", "'bold' is not one of 'ultrafast', 'superfast'"),
        ("run --camera -1", "-1 is not in the range"),
        ("evaluate", "Missing argument 'DATA'"),
        ("train", "no photographs: give --data-root, or --resume a run"),
        ("dance", "dance"),
    ],
)
def test_wrong_use_names_the_option_and_where_help_is(command: str, words: str, call: Call) -> None:
    done = call(*command.split())
    assert (done.code, done.out) == (2, "")
    usage, hint, _, error = done.err.splitlines()
    assert usage.startswith("Usage: crackedge")
    assert "--help" in hint
    assert words in error


def test_the_presets_are_those_of_the_marked_video() -> None:
    (preset,) = (option for option in named("run").params if option.name == "preset")
    assert isinstance(preset.type, click.Choice)
    assert tuple(preset.type.choices) == PRESETS


@pytest.mark.parametrize(
    "command",
    [
        "run {root}/locked/a.mp4 -m {model}",
        "run {photo} -m {root}/locked/m.tflite",
        "evaluate {root}/locked/few -m {model}",
        "evaluate {root} -m {model} --json {root}/locked/f.json",
        "bench {model} --json {root}/locked/f.json",
    ],
)
def test_a_folder_that_one_may_not_enter_is_named(
    command: str, call: Call, photo: Callable[..., Path], tiny_model: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    exists = Path.exists

    def refused(path: Path) -> bool:  # root may enter everything
        if "locked" in path.parts:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return exists(path)

    path, *_ = (part for part in command.format(root=tmp_path, model="", photo="").split() if "locked" in part)
    arguments = command.format(root=tmp_path, model=tiny_model, photo=photo("good.png")).split()
    (tmp_path / "locked").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "exists", refused)
    done = call(*arguments)
    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()[-1:]
    assert line.startswith(f"crackedge: {path}: ")
    assert "Permission denied" in line


def in_the_shell(line: str, *arguments: str | Path, buffered: bool = True) -> subprocess.CompletedProcess[str]:
    """The program as ``"$@"`` in a line of the shell."""
    command = ["sh", "-c", line, "sh", sys.executable, "-W", "ignore", "-m", "crackedge", *map(str, arguments)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)


@pytest.mark.parametrize("line", ['"$@" 2>/dev/full', '"$@" 2>&-'], ids=["full", "closed"])
@pytest.mark.parametrize("buffered", [True, False])
def test_a_log_that_cannot_be_written_stops_nothing(
    line: str, buffered: bool, photo: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = ("run", photo("wall.png"), "-o", out, "-m", tiny_model, "--fail-on-crack")
    done = in_the_shell(line, *run, buffered=buffered)
    assert (done.returncode, done.stderr) == (10, "")
    assert done.stdout.startswith(f"{out}: 1 frame, 1 with cracks")
    assert [record["type"] for record in records(out)] == ["header", "frame", "summary"]
    assert in_the_shell(line, "run", "--bogus", buffered=buffered).returncode == 2
    assert in_the_shell(line, "run", "absent.mp4", buffered=buffered).returncode == 1


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("arguments", ["--help", "--version", "info --no-time"])
def test_what_cannot_be_printed_is_said_in_one_line(arguments: str, buffered: bool) -> None:
    done = in_the_shell('"$@" >/dev/full', *arguments.split(), buffered=buffered)
    said = "crackedge: standard output: cannot be written (No space left on device)\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize("line", ['"$@" >/dev/full', '{ "$@"; echo $? >&2; } | true'], ids=["full", "closed pipe"])
@pytest.mark.parametrize(
    "command", ["evaluate {data} -m {model}", "verify nano", "info --no-time", "bench {model} --scenario null"]
)
def test_what_was_found_is_kept_although_it_cannot_be_printed(
    line: str, command: str, tiny_model: Path, photo: Callable[..., Path], tmp_path: Path
) -> None:
    data = photo("site/crack/wall.png").parents[1]
    photo("site/no_crack/wall.png", cracked=False)
    words = command.format(data=data, model=tiny_model).split()
    if words[0] == "bench":
        words += ["--duration", "0.1", "--restarts", "1"]
    file = tmp_path / "found.json"
    done = in_the_shell(line, *words, "--json", file)
    if "|" in line:
        assert done.stderr.splitlines()[-1] == "1"
        assert "crackedge: " not in done.stderr
    else:
        assert done.returncode == 1
        assert done.stderr.endswith("crackedge: standard output: cannot be written (No space left on device)\n")
    assert "Traceback" not in done.stderr
    assert json.loads(file.read_text(encoding="utf-8"))["schema"]


def test_a_crack_in_the_program_itself_is_not_hidden(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("crackedge.edge_runtime.models.model.open_model", fail)
    with pytest.raises(ZeroDivisionError):
        call("bench")


@pytest.mark.parametrize(
    "command", ["train --data-root data -o made", "export run --data-root data -o made.tflite"], ids=["train", "export"]
)
def test_a_missing_extra_is_the_line_to_type(command: str, tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    site.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if entry.name not in ("tensorflow", "keras"):
            (site / entry.name).symlink_to(entry)
    door = str(Path(package.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-S", "-m", "crackedge", *command.split()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([door, str(site)])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    name = command.split(maxsplit=1)[0]
    assert done.stderr.startswith(f"crackedge: `crackedge {name}` needs keras")
    assert done.stderr.endswith(": pip install 'crackedge[train]'\n")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("made*"))


# Figures


def test_evaluate_writes_the_figures_that_it_prints(
    call: Call, tiny_model: Path, photographs: Path, tmp_path: Path
) -> None:
    file = tmp_path / "figures.json"
    done = call("evaluate", photographs, "--model", tiny_model, "--json", file, "--engine", "tiles", "--threads", "1")
    assert done.code == 0
    result = json.loads(file.read_text(encoding="utf-8"))
    assert result["schema"] == 1
    assert (result["model"]["name"], result["engine"]) == ("tiny", "tiles")
    assert set(result["sets"]) == {"tiles", "masked", "boxed"}
    for name, one in result["sets"].items():
        assert one["n"] == len(one["items"])
        for item in one["items"]:
            assert item["label"] in ("crack", "no_crack")
            assert 0 <= item["score"] <= 1
            assert {"file", "x", "y"} <= set(item)
        accuracy = one["metrics"]["accuracy"]
        row, *_ = (line.split() for line in done.out.splitlines() if line.split()[:1] == [name])
        assert row[1] == str(one["n"])
        assert accuracy is None or f"{accuracy:.3f}" in row
    assert result["sets"]["boxed"]["metrics"]["auc"] is None


def test_evaluate_with_both_engines_says_where_they_differ(
    call: Call, tiny_model: Path, photographs: Path, tmp_path: Path
) -> None:
    file = tmp_path / "figures.json"
    done = call("evaluate", photographs, "--model", tiny_model, "--json", file, "--engine", "both", "--threads", "1")
    assert done.code == 0, done.err
    result = json.loads(file.read_text(encoding="utf-8"))
    assert result["engine"] == "dense"
    assert set(result["engines"]) == set(result["sets"])
    assert [name for name, one in result["engines"].items() if one["border"]] == ["masked"]
    assert "tiles and dense, each by its own calibration" in done.out
    assert "false pos. at the border" in done.out


@pytest.mark.parametrize(("split", "code"), [("train", 0), ("val", 0), ("test", 1), ("foo", 1)])
def test_evaluate_of_a_split(split: str, code: int, call: Call, tiny_model: Path, photographs: Path) -> None:
    assert call("evaluate", photographs / "tiles", "-m", tiny_model, "--split", split).code == code


@pytest.mark.parametrize("split", ["train", "val", "test", "foo"])
def test_evaluate_of_a_split_where_there_is_none(
    split: str, call: Call, tiny_model: Path, photo: Callable[..., Path]
) -> None:
    site = photo("site/crack/wall.png").parents[1]
    assert call("evaluate", site, "-m", tiny_model).code == 0
    for data in (site, site.parent):
        done = call("evaluate", data, "-m", tiny_model, "--split", split)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"crackedge: {site}: no folder {split}")
        assert done.err.count("\n") == 1


def test_evaluate_of_one_class_alone(call: Call, tiny_model: Path, photographs: Path) -> None:
    done = call("evaluate", photographs / "boxed", "--model", tiny_model, "--threads", "1")
    assert done.code == 0
    assert any(line.startswith("boxed") for line in done.out.splitlines())


def test_info_writes_what_it_says(call: Call, tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "info.json"
    done = call("info", tiny_model, "--no-time", "--json", file)
    assert done.code == 0, done.err
    assert "3 operations" in done.out
    assert "time: not measured" in done.out
    written = json.loads(file.read_text(encoding="utf-8"))
    assert written["card"]["name"] == "tiny"
    assert written["file"]["sha256"] in done.out


def test_the_program_is_installed_under_its_name(crackedge: Crackedge) -> None:
    script = Path(sysconfig.get_path("scripts")) / "crackedge"
    assert script.exists()
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert crackedge("--version").stdout.split(", ")[-1] == done.stdout.split(", ")[-1]
