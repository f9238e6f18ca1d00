"""Numbers that the recipe left to ``auto``, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from luthier.foundation.schema.model import ModelShape
from luthier.foundation.schema.plan import Reason
from luthier.foundation.schema.plugins import MethodConfig

ROWS_A_STEP: Final = 16
FEWEST_STEPS: Final = 40
SMALLEST_ROWS_A_STEP: Final = 4


def choose_batch_tokens(asked: int | str, lengths: Sequence[int], *, epochs: float) -> tuple[int, Reason]:
    """Choose how many tokens an optimizer step sees.

    Args:
        asked: ``train.batch_tokens``.
        lengths: Tokens of each chosen row.
        epochs: Passes over the rows.

    Returns:
        Tokens a step, and why. ``auto`` means 16 rows of mean length, fewer (not below 4) where the run would
        otherwise have less than 40 steps: an adapter needs steps more than it needs smooth gradients.
    """
    if isinstance(asked, int):
        return asked, Reason(field="train.batch_tokens", value=str(asked), reason="as the recipe says")
    mean = sum(lengths) / len(lengths)
    rows = min(ROWS_A_STEP, max(SMALLEST_ROWS_A_STEP, int(len(lengths) * epochs / FEWEST_STEPS)))
    tokens = max(max(lengths), math.ceil(rows * mean))
    why = f"{rows} rows of {mean:.0f} tokens in the mean"
    if rows < ROWS_A_STEP:
        why += f", fewer than {ROWS_A_STEP} so that {len(lengths)} rows give at least {FEWEST_STEPS} steps"
    return tokens, Reason(field="train.batch_tokens", value=str(tokens), reason=why)


def choose_learning_rate(
    asked: float | str, method: MethodConfig, shape: ModelShape, *, factor: float = 1.0
) -> tuple[float, Reason]:
    """Choose the greatest learning rate of the schedule: the recipe's, or the method's default times ``factor``."""
    if not isinstance(asked, str):
        return asked, Reason(field="train.learning_rate", value=str(asked), reason="as the recipe says")
    rate, why = method.default_learning_rate(shape)
    if factor != 1.0:
        rate, why = float(f"{rate * factor:.2g}"), f"{why}; times {factor:g} for this objective"
    return rate, Reason(field="train.learning_rate", value=str(rate), reason=why)


def count_every(num_steps: int, times: int) -> int:
    """Return the interval in steps at which something happens ``times`` times, the last step included."""
    return max(1, math.ceil(num_steps / times)) if times else 0
