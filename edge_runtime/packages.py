"""Versions of installed packages, by the names of the folders that installers leave beside them.

``importlib.metadata`` reads them from the files within, and to do so imports Python's package for e-mail: much of the
time that a run over one photograph takes to start.
"""

from __future__ import annotations

import functools
import os
import re
import sys

_FOLDER = re.compile(r"(?P<package>[^-]+)-(?P<version>[^-]+)(-py[\d.]+)?\.(dist|egg)-info")


def installed_version(package: str) -> str | None:
    """The version of a package by its name on PyPI; None where it is not installed."""
    return _versions().get(_plain(package))


@functools.cache
def _versions() -> dict[str, str]:
    """By plain name; of two of a kind the one that is imported, which comes first on the path."""
    found: dict[str, str] = {}
    for place in sys.path:
        try:
            names = [entry.name for entry in os.scandir(place or ".")]
        except OSError:  # a zip file, or nothing
            continue
        for folder in filter(None, map(_FOLDER.fullmatch, names)):
            found.setdefault(_plain(folder["package"]), folder["version"])
    return found


def _plain(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()  # PEP 503
