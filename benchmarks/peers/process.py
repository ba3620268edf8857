"""A peer's process, seen from here: jobs go in, times and scores come out."""

from __future__ import annotations

import json
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from crackedge.benchmarks.peers import worker
from crackedge.benchmarks.peers.turns import Turn
from crackedge.edge_runtime.errors import MissingExtraError

if TYPE_CHECKING:
    from typing import Self

ANSWER_S = 120.0  # a frame takes a second at most; an import on a busy board may take a minute


class PeerProcess:
    """Runs ``worker.py`` with a Python of its own. A context manager; the process has ended after it.

    Args:
        peer: one of :data:`crackedge.benchmarks.peers.worker.PEERS`.
        python: the interpreter that has the peer.
        job: what the worker is told first.
        answer_s: seconds that any answer may take.

    Attributes:
        versions: of what the peer runs with.

    Raises:
        MissingExtraError: the process does not start, or the peer cannot do the job; says why.
    """

    def __init__(self, peer: str, *, python: Path, job: Mapping[str, Any], answer_s: float = ANSWER_S) -> None:
        self.peer = peer
        self.versions: dict[str, str] = {}
        self._python, self._job, self._answer_s = python, job, answer_s
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] | None = None
        self._received = b""

    def __enter__(self) -> Self:
        self._complaints = tempfile.TemporaryFile()
        command = [str(self._python), "-I", worker.__file__, self.peer]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own script
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints, bufsize=0
            )
            self.versions = self.ask(**self._job)["versions"]
        except OSError as error:
            self._end()
            raise MissingExtraError(f"peer {self.peer}: {self._python} does not start ({error.strerror})") from error
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def load(self, frames: Path) -> int:
        """Take the frames of an ``.npy`` file, (N, H, W, 3) uint8 RGB, into memory; how many."""
        return int(self.ask(frames=str(frames))["count"])

    def turn(self, number: int) -> Turn:
        """Work on a frame that was taken before."""
        answer = self.ask(frame=number)
        return Turn(answer["ms"], np.array(answer["scores"]))

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            MissingExtraError: the peer cannot do it, ended, or is silent for too long.
        """
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(self._line())
        except (BrokenPipeError, ValueError) as error:
            raise MissingExtraError(f"peer {self.peer}: {self._last_words()}") from error
        if "error" in answer:
            raise MissingExtraError(f"peer {self.peer}: {answer['error']}")
        return answer

    def _line(self) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        until_s = time.monotonic() + self._answer_s
        while b"\n" not in self._received:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, until_s - time.monotonic()))
            if not ready:
                self._process.kill()
                raise MissingExtraError(f"peer {self.peer}: no answer within {self._answer_s:g} s")
            more = self._process.stdout.read(1 << 16)
            if not more:
                raise BrokenPipeError
            self._received += more
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _last_words(self) -> str:
        assert self._process is not None
        assert self._complaints is not None
        code = self._process.wait(self._answer_s)
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        return f"ended with {code} ({lines[-1] if lines else 'silently'})"

    def _end(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
        if self._complaints is not None:
            self._complaints.close()
