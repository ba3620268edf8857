"""What benchmarks that are programs of their own, ``python -m crackedge.benchmarks.NAME``, have in common."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from crackedge.edge_runtime.errors import CrackedgeError, ProofError

FAILED, PROOF_FAILED = 1, 5  # exit codes


@contextlib.contextmanager
def errors_in_a_line() -> Iterator[None]:
    """End the process where the block fails: with the reason in a line, and with 5 where the reason is a proof."""
    try:
        yield
    except (CrackedgeError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(PROOF_FAILED if isinstance(error, ProofError) else FAILED)


def write_figures(path: Path | None, figures: Any) -> None:
    """Write figures as JSON, if they are wanted.

    Raises:
        OSError: the file cannot be written.
    """
    if path is not None:
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
