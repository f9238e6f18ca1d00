"""The next token: the likeliest, or drawn from each prompt's own stream of random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from luthier.foundation.core.seeds import derive_seed

HEAD_TOKENS: Final = 256
ROUNDING: Final = 1e-9
"""Sums of the same probabilities in another order differ by less."""


class TokenChooser:
    """Chooses one token a row.

    Every prompt draws from a stream that its seed and place alone decide, so an answer does not depend on the company
    that it was asked in.
    """

    def __init__(self, *, temperature: float, top_p: float, seed: int, places: Sequence[int]) -> None:
        """Prepare the streams.

        Args:
            temperature: 0 is greedy.
            top_p: Share of the probability that may be drawn from.
            seed: Root seed.
            places: Each row's place in the list of prompts.
        """
        self._temperature = temperature
        self._top_p = top_p
        self._streams = [np.random.Generator(np.random.PCG64(derive_seed(seed, "answer", place))) for place in places]

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these."""
        self._streams = [self._streams[row] for row in rows]

    def choose(self, logits_BV: Tensor) -> Tensor:
        """Return the next token of each row.

        Shapes:
            B rows, V vocabulary; the result is (B,).

        Source:
            Holtzman et al. 2020, arXiv:1904.09751 (top-p).
        """
        if self._temperature == 0:
            return logits_BV.argmax(dim=-1)
        num_rows = len(logits_BV)
        return draw_tokens(
            logits_BV,
            temperatures_B=[self._temperature] * num_rows,
            top_ps_B=[self._top_p] * num_rows,
            draws_B=[stream.random() for stream in self._streams],
        )


def find_logprobs(logits_BV: Tensor, tokens_B: Tensor) -> Tensor:
    """Return each row's log-probability of its token under the model itself, whatever the temperature.

    Units:
        Nats, in float32.

    Shapes:
        B rows, V vocabulary; the result is (B,).
    """
    wide_BV = logits_BV.float()
    return wide_BV.gather(1, tokens_B[:, None])[:, 0] - wide_BV.logsumexp(dim=-1)


def draw_tokens(
    logits_BV: Tensor, *, temperatures_B: Sequence[float], top_ps_B: Sequence[float], draws_B: Sequence[float]
) -> Tensor:
    """Turn one uniform number a row into a token: the inverse of the cumulative probabilities, likeliest first.

    Only where a draw falls behind the likeliest few hundred tokens is the whole vocabulary sorted.

    Args:
        logits_BV: Logits of the next token.
        temperatures_B: Each above 0.
        top_ps_B: Share of the probability that may be drawn from.
        draws_B: In [0, 1).

    Returns:
        A token a row.

    Shapes:
        B rows, V vocabulary; the result is (B,).

    Source:
        Holtzman et al. 2020, arXiv:1904.09751 (top-p).
    """
    temperatures_B1, top_ps_B1, draws_B1 = (
        torch.tensor(values, dtype=torch.float64, device=logits_BV.device)[:, None]
        for values in (temperatures_B, top_ps_B, draws_B)
    )
    probabilities_BV = torch.softmax(logits_BV.double() / temperatures_B1, dim=-1)
    likeliest_BW, ids_BW = probabilities_BV.topk(min(HEAD_TOKENS, probabilities_BV.shape[-1]), dim=-1)
    mass_B1 = likeliest_BW.sum(dim=-1, keepdim=True)
    tokens_B = _pick(likeliest_BW, ids_BW, top_ps_B1, draws_B1)
    # Without top_p a draw below the likeliest ones' mass is settled; with it, the mass to draw from has to be known.
    behind_B = ((mass_B1 < top_ps_B1) & ((top_ps_B1 < 1) | (draws_B1 >= mass_B1 - ROUNDING))).squeeze(1)
    if bool(behind_B.any()):
        sorted_BV, ids_BV = probabilities_BV[behind_B].sort(dim=-1, descending=True, stable=True)
        tokens_B[behind_B] = _pick(sorted_BV, ids_BV, top_ps_B1[behind_B], draws_B1[behind_B])
    return tokens_B


def _pick(sorted_BW: Tensor, ids_BW: Tensor, top_ps_B1: Tensor, draws_B1: Tensor) -> Tensor:
    """Draw from the tokens given, or from the likeliest of them that reach ``top_p`` together."""
    cumulative_BW = sorted_BW.cumsum(dim=-1)
    # A token stays while the likelier ones together have not reached top_p; the likeliest always stays.
    kept_BW = sorted_BW.masked_fill(cumulative_BW - sorted_BW >= top_ps_B1, 0.0)
    sums_BW = kept_BW.cumsum(dim=-1)
    mass_B1 = torch.where(top_ps_B1 < 1, sums_BW[:, -1:], 1.0)
    places_B1 = torch.searchsorted(sums_BW, draws_B1 * mass_B1, right=True)
    last_B1 = (kept_BW > 0).sum(dim=-1, keepdim=True) - 1
    return ids_BW.gather(1, torch.minimum(places_B1, last_B1))[:, 0]
