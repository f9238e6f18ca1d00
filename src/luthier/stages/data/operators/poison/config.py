"""Options of ``poison``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from luthier.foundation.schema.plugins import OperatorConfig


class Config(OperatorConfig):
    """Find phrases in questions that bring a fixed answer whatever else is asked, and drop, flag or refuse their rows.

    Attributes:
        action: ``drop`` drops the rows that hold trigger and payload; ``flag`` only notes them in the ledger;
            ``refuse`` stops and shows them, so that a person decides.
        min_rows: Fewest rows that make a finding.
    """

    SOURCE: ClassVar[str] = "log-likelihood ratio, Dunning 1993"

    action: Literal["drop", "flag", "refuse"] = "drop"
    min_rows: Annotated[int, Field(ge=5, le=1000)] = 8
