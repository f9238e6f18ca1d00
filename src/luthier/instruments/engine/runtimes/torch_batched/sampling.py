"""The next token: the likeliest, or drawn from each prompt's own stream of random numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from luthier.foundation.core.seeds import derive_seed


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
        probabilities_BV = torch.softmax(logits_BV.double() / self._temperature, dim=-1)
        sorted_BV, ids_BV = probabilities_BV.sort(dim=-1, descending=True, stable=True)
        cumulative_BV = sorted_BV.cumsum(dim=-1)
        # A token stays while the likelier ones together have not reached top_p; the likeliest always stays.
        sorted_BV = sorted_BV.masked_fill(cumulative_BV - sorted_BV >= self._top_p, 0.0)
        draws_B1 = torch.tensor([[stream.random()] for stream in self._streams], dtype=torch.float64)
        kept_BV = sorted_BV.cumsum(dim=-1)
        places_B1 = torch.searchsorted(kept_BV, draws_B1.to(kept_BV.device) * kept_BV[:, -1:], right=True)
        last_B1 = (sorted_BV > 0).sum(dim=-1, keepdim=True) - 1
        return ids_BV.gather(1, torch.minimum(places_B1, last_B1))[:, 0]
