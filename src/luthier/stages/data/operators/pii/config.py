"""Options of ``pii``."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from luthier.foundation.core.errors import DataError
from luthier.foundation.schema.plugins import OperatorConfig
from luthier.instruments.text.privacy import KINDS


class Config(OperatorConfig):
    """Find personal data and secrets by pattern and checksum, and redact, drop or flag.

    Attributes:
        action: ``redact`` puts a typed placeholder such as ``<EMAIL_1>`` in place of each value, the same value
            the same placeholder within a row; ``drop`` drops the row; ``flag`` only notes it in the ledger.
        kinds: What to look for; all kinds by default.
    """

    action: Literal["redact", "drop", "flag"] = "redact"
    kinds: tuple[str, ...] = KINDS

    @field_validator("kinds")
    @classmethod
    def _check_kinds(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise DataError(
                "E-DAT-017",
                "the operator pii does not know a kind",
                got=", ".join(unknown),
                allowed=", ".join(KINDS),
                fix=f"kinds: [{KINDS[-1]}]",
                field="data.operators.pii.kinds",
            )
        return kinds
