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
    "E-MOD-001",
    "E-MOD-002",
    "E-MOD-003",
    "E-MOD-004",
    "E-MOD-005",
    "E-MOD-006",
    "E-MOD-007",
    "E-MOD-008",
    "E-ENV-004",
    "E-ENV-005",
    "E-PLN-001",
    "E-PLN-002",
    "E-PLN-003",
    "E-PLN-004",
    "E-PLN-005",
    "E-LIF-001",
]
