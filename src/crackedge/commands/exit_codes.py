"""How the process ends, as every command's help says."""

from __future__ import annotations

FAILED, USAGE, LIVE, OUTPUT_LOST, PROOF, CRACKS = 1, 2, 3, 4, 5, 10
