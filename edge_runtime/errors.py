"""The tree of errors; training adds two of its own. A message says what was found, what was expected, and what to do.

The library raises; the command line turns each class into its exit code.
"""

from __future__ import annotations


class CrackedgeError(Exception):
    """Root of every error that crackedge raises on purpose."""


class OptionError(CrackedgeError, ValueError):
    """An option or argument has a value that cannot be used."""


class SourceError(CrackedgeError, OSError):
    """A file, folder or glob of images gives no frames: missing, unreadable, empty."""


class LiveSourceError(CrackedgeError, ConnectionError):
    """A camera or stream is absent, or was lost and did not come back in time."""


class ModelError(CrackedgeError, ValueError):
    """A model file is missing, corrupt, foreign or not usable on this device."""


class DataError(CrackedgeError, ValueError):
    """A labelled data set is missing, malformed or unfit for the purpose."""


class OutputError(CrackedgeError, OSError):
    """An output cannot be written, or would overwrite something that is not ours."""


class ProofError(CrackedgeError, ArithmeticError):
    """A file was made but does not compute what it should; it was not kept."""


class MissingExtraError(CrackedgeError, ImportError):
    """A command needs packages that the base install leaves out."""
