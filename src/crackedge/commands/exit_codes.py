"""How the process ends, as every command's help says; what a run comes to is ``Outcome.exit_code``."""

from __future__ import annotations

FAILED, USAGE, LIVE, PROOF = 1, 2, 3, 5
