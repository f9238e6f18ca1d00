"""Every error code, as a Literal, so that a typo is a type error.

Blocks: REC recipe and command line, DAT data, TXT text and templates, MOD model, PLN plan, TRN train,
ENG engine and methods, EVA evaluate and measure, STO store, LIF lifecycle, ENV environment.
"""

from typing import Literal

BLOCKS = ("REC", "DAT", "TXT", "MOD", "PLN", "TRN", "ENG", "EVA", "STO", "LIF", "ENV")

ErrorCode = Literal[
    "E-REC-001",
    "E-REC-010",
    "E-REC-011",
    "E-REC-012",
    "E-ENV-001",
    "E-ENV-002",
    "E-ENV-003",
    "E-LIF-001",
]
