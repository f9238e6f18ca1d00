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
    "E-DAT-001",
    "E-DAT-002",
    "E-DAT-003",
    "E-DAT-004",
    "E-DAT-005",
    "E-DAT-006",
    "E-DAT-007",
    "E-DAT-008",
    "E-DAT-009",
    "E-DAT-010",
    "E-DAT-011",
    "E-DAT-012",
    "E-DAT-013",
    "E-DAT-014",
    "E-DAT-015",
    "E-DAT-016",
    "E-DAT-017",
    "E-DAT-018",
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
