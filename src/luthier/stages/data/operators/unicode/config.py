"""Options of ``unicode``."""

from __future__ import annotations

from typing import ClassVar, Literal

from luthier.foundation.schema.plugins import OperatorConfig


class Config(OperatorConfig):
    """Bring all texts into one Unicode form, repair broken encoding, take out what nobody can see.

    Attributes:
        lookalikes: Whether Cyrillic and Greek letters inside Latin words become the Latin letters they imitate.
        hidden_text: What happens to a row in which characters without a shape spell a text: ``strip`` takes
            them out, ``drop`` drops the row. The ledger quotes the text either way.
        repair: Whether UTF-8 that was read as Windows-1252 or Latin-1, once or twice, is read again.
    """

    VERSION: ClassVar[int] = 2
    SOURCE: ClassVar[str] = "UAX 15, UTS 39, UTS 51, CVE-2021-42574"

    lookalikes: Literal["fix", "keep"] = "fix"
    hidden_text: Literal["strip", "drop"] = "strip"
    repair: bool = True
