"""Large blocks: freed ones are the system's again, and do not stay with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys
from crackedge.edge_runtime.native_memory import return_large_blocks

def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

if sys.argv[1] == "yes":
    assert return_large_blocks()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
size = 24 << 20
libc.free(libc.malloc(size))  # glibc raises its threshold to this
before = resident_mib()
blocks = [libc.malloc(size) for _ in range(4)]
last = libc.malloc(1 << 20)  # on top of them: without it, the heap's end would shrink
for block in blocks:
    ctypes.memset(block, 1, size)
    libc.free(block)
print(resident_mib() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_large_blocks_do_not_stay() -> None:
    def kept_mib(asked: str) -> float:
        done = subprocess.run([sys.executable, "-c", PROGRAM, asked], capture_output=True, text=True, check=True)
        return float(done.stdout)

    assert kept_mib("yes") < 10
    assert kept_mib("no") > 80, "what glibc does by itself; if it no longer does, this module can go"
