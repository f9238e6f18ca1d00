"""Options of ``empty``."""

from __future__ import annotations

from typing import Literal

from luthier.foundation.schema.plugins import OperatorConfig


class Config(OperatorConfig):
    """Drop rows that say nothing: no messages, a blank answer, a blank question.

    Attributes:
        unanswered: What to do with a conversation whose last turn is not the assistant's: ``refuse`` it and stop,
            ``trim`` the turns after the last answer, or ``drop`` it.
    """

    unanswered: Literal["refuse", "trim", "drop"] = "refuse"
