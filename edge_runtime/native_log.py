"""What C and C++ libraries write past Python to the terminal, caught on its way."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def captured() -> Iterator[list[str]]:
    """Catch what is written to the process' stdout and stderr inside the block, by native code too.

    It holds for the whole process, so keep the block short, or other threads' output is caught as well.

    Yields:
        A list that holds the text, as one string, when the block has ended.
    """
    text: list[str] = []
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(tempfile.TemporaryFile())
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):  # a daemon without standard streams
                saved = os.dup(descriptor)
                stack.callback(os.close, saved)
                stack.callback(os.dup2, saved, descriptor)
                os.dup2(sink.fileno(), descriptor)
        try:
            yield text
        finally:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            sink.seek(0)
            text.append(sink.read().decode("utf-8", "replace"))
