"""Score rows: the log-probability of every token that has a weight, and what the model preferred instead.

Rows that share a beginning share its computation, as in training; each row's scores are its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from luthier.instruments.engine.load import LoadedModel
from luthier.instruments.engine.loss import choose_chunk_tokens, compute_logits
from luthier.instruments.engine.packing import PackedBatch

if TYPE_CHECKING:
    from luthier.instruments.text.encode import EncodedRow


@dataclass(frozen=True)
class ProbeScores:
    """What a model thinks of one row's weighted tokens.

    Attributes:
        logps_M: Log-probability of each.
        best_ids_M: The token that the model would have written there.
        gaps_M: How far the best token's log-probability lies above the second's.

    Shapes:
        M weighted tokens of the row, in order.

    Units:
        Nats.
    """

    logps_M: np.ndarray
    best_ids_M: np.ndarray
    gaps_M: np.ndarray


def score_rows(loaded: LoadedModel, rows: Sequence[EncodedRow], *, pack_tokens: int) -> list[np.ndarray]:
    """Score every token whose weight is above zero.

    Args:
        loaded: The model, adapter included where one is on.
        rows: Rows; weights only choose what is scored.
        pack_tokens: Bound on the tokens of a pass.

    Returns:
        For each row, in the order given, log-probabilities of its weighted tokens as float64.

    Units:
        Nats.
    """
    return [scores.logps_M for scores in score_probes(loaded, rows, pack_tokens=pack_tokens)]


@torch.no_grad()
def score_probes(loaded: LoadedModel, rows: Sequence[EncodedRow], *, pack_tokens: int) -> list[ProbeScores]:
    """Score weighted tokens and note the best token and its lead, as parity certificates need.

    Args:
        loaded: The model, adapter included where one is on.
        rows: Rows; weights only choose what is scored.
        pack_tokens: Bound on the tokens of a pass.

    Returns:
        Scores of each row, in the order given.
    """
    was_training = loaded.model.training
    loaded.model.eval()
    scores: dict[int, ProbeScores] = {}
    try:
        for batch in loaded.pack(rows, pack_tokens=pack_tokens, merge_targets=False):
            scores.update(_score_pack(loaded, batch))
    finally:
        loaded.model.train(was_training)
    nothing = ProbeScores(np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0))
    return [scores.get(index, nothing) for index in range(len(rows))]


def _score_pack(loaded: LoadedModel, pack: PackedBatch) -> dict[int, ProbeScores]:
    if not len(pack.target_ids_M):
        return {}
    batch, place_R = _ask_once(pack)
    hidden_MD = loaded.target_hidden(batch)
    weight_VD = loaded.head_weight_VD
    chunk = choose_chunk_tokens(weight_VD.shape[0])
    num_targets = len(batch.target_ids_M)
    logps_M, gaps_M = (hidden_MD.new_empty(num_targets, dtype=torch.float64) for _ in range(2))
    best_M = torch.empty_like(batch.target_ids_M)
    for start in range(0, num_targets, chunk):  # written in place: what outlives a chunk would split its freed logits
        part = slice(start, start + chunk)
        logits_CV = compute_logits(hidden_MD[part], weight_VD, loaded.head_form)
        best_C2, ids_C2 = logits_CV.topk(2, dim=-1)
        target_C = logits_CV.gather(1, batch.target_ids_M[part, None])[:, 0]
        logps_M[part] = target_C - torch.logsumexp(logits_CV, dim=-1)
        best_M[part], gaps_M[part] = ids_C2[:, 0], best_C2[:, 0] - best_C2[:, 1]
    logps_R, best_R, gaps_R = (column_M[place_R].numpy(force=True) for column_M in (logps_M, best_M, gaps_M))
    owners_R = pack.row_of_target_M.numpy(force=True)
    return {
        int(row): ProbeScores(logps_R[owners_R == row], best_R[owners_R == row], gaps_R[owners_R == row])
        for row in np.unique(owners_R)
    }


def _ask_once(pack: PackedBatch) -> tuple[PackedBatch, Tensor]:
    """Ask once for a token that several rows predict at the same place of their shared beginning.

    Returns:
        The pack with M different targets, and for each of the R targets of all rows its place among them, (R,).
    """
    asked_2R = torch.stack([pack.source_positions_M, pack.target_ids_M])
    different_2M, place_R = torch.unique(asked_2R, dim=1, return_inverse=True)
    source_M, target_M = different_2M.contiguous()
    return replace(pack, source_positions_M=source_M, target_ids_M=target_M), place_R
