from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest

import crackedge.edge_runtime
from crackedge.edge_runtime import errors


def test_the_public_names_are_exactly_these() -> None:
    assert crackedge.edge_runtime.__all__ == [
        "Calibration",
        "CrackedgeError",
        "DataError",
        "Frame",
        "FrameResult",
        "LiveSourceError",
        "MissingExtraError",
        "Model",
        "ModelCard",
        "ModelError",
        "OperatingPoint",
        "OptionError",
        "OutputError",
        "Plan",
        "ProofError",
        "Region",
        "Scanner",
        "ScoreMap",
        "SourceError",
        "SourceOptions",
        "find_regions",
        "open_model",
        "open_source",
        "shipped_models",
    ]


@pytest.mark.parametrize("name", crackedge.edge_runtime.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(crackedge.edge_runtime, name)
    assert value.__name__ == name
    assert inspect.getdoc(value)
    assert value.__module__.startswith("crackedge.edge_runtime.")


def test_no_other_name_is_public() -> None:
    assert dir(crackedge.edge_runtime) == sorted(crackedge.edge_runtime.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Detector'"):
        crackedge.edge_runtime.Detector  # noqa: B018


def test_every_error_is_public_and_one_of_the_tree_and_a_builtin_one() -> None:
    for name, error in inspect.getmembers(errors, inspect.isclass):
        assert name in crackedge.edge_runtime.__all__
        assert issubclass(error, errors.CrackedgeError)
        assert error is errors.CrackedgeError or len(error.__bases__) == 2


def test_the_few_lines_of_the_documentation(tiny_model: Path, tmp_path: Path) -> None:
    from crackedge.edge_runtime import Scanner, open_source

    picture = np.full((300, 400, 3), 255, np.uint8)
    assert cv2.imwrite(str(tmp_path / "0.png"), picture)
    assert cv2.imwrite(str(tmp_path / "1.png"), picture // 255)
    cracked = []
    with Scanner(tiny_model) as scanner, open_source(str(tmp_path)) as frames:
        for frame in frames:
            result = scanner(frame.image)
            cracked.append(result.cracked)
    assert cracked == [False, True]


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_no_robot_module_imports_tensorflow(tiny_model: Path) -> None:
    seen = run(
        """
        import importlib, pkgutil, sys
        import numpy
        import crackedge.benchmarks, crackedge.edge_runtime

        for room in (crackedge.edge_runtime, crackedge.benchmarks):
            for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
                importlib.import_module(module.name)
                print(module.name)
        for engine in ("tiles", "dense"):
            with crackedge.edge_runtime.Scanner(sys.argv[1], engine=engine) as scanner:
                assert scanner(numpy.zeros((300, 300, 3), numpy.uint8)).cracked
        strangers = {"tensorflow", "keras", "torch", "jax"} & set(sys.modules)
        assert not strangers, strangers
        """,
        str(tiny_model),
    )
    assert "crackedge.edge_runtime.scan.scanner\n" in seen
    assert seen.count("crackedge.benchmarks.") >= 1


def test_the_package_itself_loads_nothing_heavy() -> None:
    run(
        """
        import sys
        import crackedge.edge_runtime, crackedge.edge_runtime.errors

        heavy = {"numpy", "cv2", "av", "PIL", "ai_edge_litert"} & set(sys.modules)
        assert not heavy, heavy
        """
    )


def test_all_names_come_with_a_star() -> None:
    run("from crackedge.edge_runtime import *\nScanner, open_source, ModelError")
