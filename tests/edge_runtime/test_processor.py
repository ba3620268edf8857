from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from crackedge.edge_runtime.processor import processor_name, usable_cores, vector_instructions


def system(root: Path, cpuinfo: str) -> Path:
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text(cpuinfo)
    return root


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nmodel name\t: Fast One\nprocessor\t: 1\nmodel name\t: Fast One\n", "Fast One"),
        ("processor : 0\nCPU implementer : 0x41\nCPU part : 0xd0b\n", "ARM implementer 0x41 part 0xd0b"),
        ("", platform.processor() or None),
    ],
)
def test_a_processor_is_named_as_the_system_does(tmp_path: Path, cpuinfo: str, expected: str | None) -> None:
    assert processor_name(root=system(tmp_path, cpuinfo)) == expected


def test_cores_are_those_that_this_process_may_use() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 avx512_vnni avx512bw\n", "AVX-512 VNNI"),
        ("flags : fpu sse4_2 avx avx2\n", "AVX2"),
        ("Features\t: fp asimd asimddp crc32\n", "dotprod"),
        ("Features\t: half thumb neon vfpv4\n", "NEON"),
        ("flags : fpu sse2\n", None),
        ("", None),
    ],
)
def test_vector_instructions_the_fastest_first(tmp_path: Path, cpuinfo: str, expected: str | None) -> None:
    assert vector_instructions(root=system(tmp_path, cpuinfo)) == expected
