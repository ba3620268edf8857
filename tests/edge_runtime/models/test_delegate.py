from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from crackedge.edge_runtime.errors import ModelError, OptionError
from crackedge.edge_runtime.models.delegate import parse_delegate
from crackedge.edge_runtime.models.model import open_model
from crackedge.edge_runtime.scan.dense_engine import DenseEngine
from crackedge.edge_runtime.scan.scanner import Scanner

# A delegate that takes no operator: it notes that it was given the network, or refuses it, or spoils its weights.
_SOURCE = r"""
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct { int type; void* data; void* dims; float scale; int32_t zero; int allocation; size_t bytes;
                 void* more[3]; int handle; char flags[4]; void* rest[4]; } Tensor;
typedef struct { size_t tensors; void* get_plan; Tensor* tensor; } Context;
typedef struct Delegate { void* data; int (*prepare)(Context*, struct Delegate*); void* buffers[3]; int64_t flags;
                          void* builder; } Delegate;

static char note[4096];
static int fails, spoils;
static Delegate the_delegate;

static int prepare(Context* context, Delegate* delegate) {
  (void)delegate;
  FILE* file = note[0] ? fopen(note, "a") : NULL;
  if (file) { fprintf(file, "prepared %zu tensors\n", context->tensors); fclose(file); }
  for (size_t i = 0; spoils && i < context->tensors; i++) {
    Tensor* tensor = &context->tensor[i];
    if (tensor->type == 9 && tensor->allocation == 1)
      for (size_t j = 0; j < tensor->bytes; j += 3) ((uint8_t*)tensor->data)[j] ^= 0x7f;
  }
  return fails;
}

void* tflite_plugin_create_delegate(char** keys, char** values, size_t count, void (*report)(const char*)) {
  for (size_t i = 0; i < count; i++) {
    if (!strcmp(keys[i], "note")) strncpy(note, values[i], sizeof note - 1);
    if (!strcmp(keys[i], "fail")) fails = 1;
    if (!strcmp(keys[i], "spoil")) spoils = 1;
    if (!strcmp(keys[i], "refuse")) { report("no device\nat the bus"); return NULL; }
  }
  the_delegate.prepare = prepare;
  return &the_delegate;
}

void tflite_plugin_destroy_delegate(void* delegate) { (void)delegate; }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    folder = tmp_path_factory.mktemp("delegate")
    source, built = folder / "delegate.c", folder / "libdelegate.so"
    source.write_text(_SOURCE)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(built), str(source)], check=True)
    (folder / "other.c").write_text("int other(void) { return 1; }")
    command = [compiler, "-shared", "-fPIC", "-o", str(folder / "libother.so"), str(folder / "other.c")]
    subprocess.run(command, check=True)
    return built


def in_a_process(code: str, *arguments: str) -> str:
    """What a process of its own prints; a delegate's library stays loaded, and may spoil what it is given."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=True
    )
    assert "Exception ignored" not in ran.stderr
    return ran.stdout


_OPEN = """
import sys
from crackedge.edge_runtime import ModelError, open_model
try:
    print(open_model("nano", delegate=sys.argv[1]).delegate)
except ModelError as error:
    print("ModelError:", error)
"""


def test_the_network_is_given_to_it_and_computes_the_same(library: Path, tmp_path: Path) -> None:
    note = tmp_path / "note"
    named = f"{library},note={note},device=usb:0"
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    model = open_model("nano", delegate=named)
    assert note.read_text().startswith("prepared ")
    found = DenseEngine(model, threads=1).cell_logits(image)
    assert len(note.read_text().splitlines()) >= 3  # for the golden vectors, and for each interpreter of the engine
    assert np.array_equal(found, DenseEngine(open_model("nano"), threads=1).cell_logits(image))
    with Scanner("nano", delegate=named) as scanner:
        assert scanner.plan.delegate == named
        assert scanner(image).width == 400


def test_one_that_computes_something_else_fails_the_golden_vectors(library: Path) -> None:
    said = in_a_process(_OPEN, f"{library},spoil=1")
    assert said.startswith("ModelError: ")
    assert "computes this model wrongly: its golden outputs" in said


def test_one_that_refuses_to_start_is_said_in_one_line(library: Path) -> None:
    said = in_a_process(_OPEN, f"{library},refuse=1")
    assert "does not start (Failed to load delegate from" in said
    assert "no device at the bus); is its device there?\n" in said
    assert said.count("\n") == 1


def test_one_that_fails_with_the_network_is_said_in_one_line(library: Path) -> None:
    said = in_a_process(_OPEN, f"{library},fail=1")
    assert said.startswith("ModelError: ")
    assert f"is it made for the delegate {library},fail=1?" in said
    assert said.count("\n") == 1


def test_a_library_that_is_not_there_or_no_delegate_is_refused(library: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"delegate .*absent\.so: cannot be loaded \(.*\); give the path"):
        open_model("nano", delegate=str(tmp_path / "absent.so"))
    with pytest.raises(OptionError, match=r"libother\.so: a library without tflite_plugin_create_delegate and"):
        open_model("nano", delegate=str(library.with_name("libother.so")))


def test_an_opened_model_has_its_own(library: Path) -> None:
    with pytest.raises(OptionError, match="for an opened model; give it to open_model"):
        Scanner(open_model("nano"), delegate=str(library))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("libedgetpu.so.1", ("libedgetpu.so.1", {})),
        ("/opt/a.so,device=usb:1,verbose=", ("/opt/a.so", {"device": "usb:1", "verbose": ""})),
    ],
)
def test_library_and_options(text: str, expected: tuple[str, dict[str, str]]) -> None:
    assert parse_delegate(text) == expected


@pytest.mark.parametrize("text", ["", ",a=b", "lib.so,", "lib.so,fast", "lib.so,=1"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"expected LIBRARY\[,key=value\.\.\.\]"):
        parse_delegate(text)
