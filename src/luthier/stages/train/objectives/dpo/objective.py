"""Direct preference optimisation at run time: pairs in packs, their prompt computed once, the base by adapter off.

A step's loss is a function of four sums of log-probabilities a pair: of chosen and rejected answer, under the model
and under its base. Both answers of a pair lie in one pack, as two segments that continue one prompt, so a pack's loss
is the sum over its pairs and packs never change a gradient. The base is the same weights with the adapter switched
off, run over the same pack: no second model is in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from luthier.foundation.schema.plan import PlanIdentity
from luthier.foundation.schema.rows import Row
from luthier.instruments.engine.load import LoadedModel
from luthier.instruments.engine.loss import chunked_logps
from luthier.instruments.engine.packing import PackedBatch
from luthier.instruments.text.fit import FittedRows, TooLong, fit_pairs
from luthier.instruments.text.pairs import EncodedPair
from luthier.instruments.text.prefixes import count_distinct_tokens
from luthier.instruments.text.tokens import TextTokenizer
from luthier.stages.train.job import SummedLoss, Tuned
from luthier.stages.train.objectives.dpo.config import Config

WHOLE = sys.maxsize  # tokens of a pack that holds whatever it is given


@dataclass(frozen=True)
class PairBatch:
    """Whole pairs, ready to be run.

    Attributes:
        packs: One, or one a sequence where the architecture runs rows one by one. Row 2 p of all packs together is
            the chosen sequence of pair p, row 2 p + 1 its rejected one.
        num_pairs: Pairs in it.
    """

    packs: tuple[PackedBatch, ...]
    num_pairs: int


class DpoObjective:
    """Prefer chosen answers to rejected ones, measured from the base."""

    figures = ("reward_accuracy", "reward_margin", "reward_chosen")

    def encode(
        self,
        rows: Iterable[Row],
        tokenizer: TextTokenizer,
        *,
        config: Config,  # noqa: ARG002  what is trained does not depend on it
        plan: PlanIdentity,
        on_row: Callable[[], None] | None = None,
    ) -> FittedRows[EncodedPair]:
        """Render and tokenise preferences; what the model says after the prompt is weighed."""
        return fit_pairs(
            rows, tokenizer, max_length=plan.max_length, too_long=cast("TooLong", plan.too_long), on_row=on_row
        )

    def weigh(self, examples: Sequence[EncodedPair]) -> float:
        """Count the pairs: every pair counts the same, however long its answers are."""
        return float(len(examples))

    def pack(self, loaded: LoadedModel, examples: Sequence[EncodedPair], *, pack_tokens: int) -> list[PairBatch]:
        """Pack pairs whole; those that share a prompt lie side by side and compute it once."""
        order = sorted(examples, key=lambda pair: [s.token_ids_T.astype(">u4").tobytes() for s in pair.sequences])
        limit = pack_tokens if loaded.can_pack else 0
        return [batch for group in _cut(order, limit) for batch in _pack_group(loaded, group, pack_tokens)]

    def loss(self, tuned: Tuned, batch: PairBatch, config: Config) -> SummedLoss:
        """Sum the losses of a batch's pairs, and what they say of the rewards.

        Units:
            Nats; rewards are beta times nats.
        """
        with torch.no_grad(), tuned.method.disabled(tuned.loaded):
            reference_P2 = sum_logps(tuned.loaded, batch, is_training=False)
        policy_P2 = sum_logps(tuned.loaded, batch, is_training=tuned.loaded.model.training)
        rewards_P2 = config.beta * (policy_P2 - reference_P2)
        margins_P = rewards_P2[:, 0] - rewards_P2[:, 1]
        total = pair_losses(margins_P, config).sum()
        won_P = torch.heaviside(margins_P.detach(), margins_P.new_tensor(0.5))  # a tie is half a pair
        sums = (won_P.sum(), margins_P.detach().sum(), rewards_P2[:, 0].detach().sum())
        return SummedLoss(total, dict(zip(self.figures, map(float, sums), strict=True)))


def pair_losses(margins_P: Tensor, config: Config) -> Tensor:
    """Return the loss of each pair.

    Args:
        margins_P: Reward of the chosen answer less that of the rejected one.
        config: Which loss.

    Shapes:
        P = pairs; the result is (P,).
    """
    if config.loss_type == "hinge":
        return torch.relu(1.0 - margins_P)
    smoothing = config.label_smoothing
    return -(1.0 - smoothing) * logsigmoid(margins_P) - smoothing * logsigmoid(-margins_P)


def sum_logps(loaded: LoadedModel, batch: PairBatch, *, is_training: bool) -> Tensor:
    """Sum the weighted log-probabilities of each sequence's answer.

    Args:
        loaded: The model, its adapter on or off.
        batch: Whole pairs.
        is_training: Whether layers drop what they drop in training; the base never does.

    Returns:
        Sums in float64: those of long answers are subtracted from each other.

    Shapes:
        P = pairs; the result is (P, 2), chosen first.

    Units:
        Nats.
    """
    was_training = loaded.model.training
    if was_training != is_training:
        loaded.model.train(is_training)
    try:
        sums_R = torch.zeros(2 * batch.num_pairs, dtype=torch.float64, device=loaded.device)
        for pack in batch.packs:
            logps_M = chunked_logps(
                loaded.target_hidden(pack), loaded.head_weight_VD, pack.target_ids_M, form=loaded.head_form
            )
            sums_R = sums_R.index_add(0, pack.row_of_target_M, logps_M.double() * pack.weights_M)
    finally:
        if was_training != is_training:
            loaded.model.train(was_training)
    return sums_R.view(-1, 2)


def _cut(order: Sequence[EncodedPair], limit: int) -> Iterator[list[EncodedPair]]:
    """Yield groups of neighbours whose shared beginnings, counted once, fit the limit; one pair always fits."""
    group: list[EncodedPair] = []
    for pair in order:
        if group and count_distinct_tokens([s.token_ids_T for one in (*group, pair) for s in one.sequences]) > limit:
            yield group
            group = []
        group.append(pair)
    if group:
        yield group


def _pack_group(loaded: LoadedModel, group: list[EncodedPair], pack_tokens: int) -> Iterator[PairBatch]:
    """Yield a group as one batch, halved as long as the forest's few levels make it longer than a pack may be."""
    rows = [sequence for pair in group for sequence in pair.sequences]
    packs = loaded.pack(rows, pack_tokens=WHOLE, merge_targets=False)
    if len(group) > 1 and any(pack.forest.num_tokens > pack_tokens for pack in packs):
        half = len(group) // 2
        yield from _pack_group(loaded, group[:half], pack_tokens)
        yield from _pack_group(loaded, group[half:], pack_tokens)
        return
    yield PairBatch(tuple(packs), len(group))


PLUGIN = DpoObjective()
