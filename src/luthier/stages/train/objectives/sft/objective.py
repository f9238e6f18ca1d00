"""Supervised fine-tuning at run time: weighted negative log-probability of the trained tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import cast

from luthier.foundation.schema.plan import PlanIdentity
from luthier.foundation.schema.rows import Row
from luthier.instruments.engine.load import LoadedModel
from luthier.instruments.engine.loss import chunked_nll
from luthier.instruments.engine.packing import PackedBatch
from luthier.instruments.text.encode import EncodedRow
from luthier.instruments.text.fit import FittedRows, TooLong, fit_rows
from luthier.instruments.text.tokens import TextTokenizer
from luthier.stages.train.job import SummedLoss, Tuned
from luthier.stages.train.objectives.sft.config import Config


class SftObjective:
    """Make the given answers likelier."""

    figures = ()

    def encode(
        self,
        rows: Iterable[Row],
        tokenizer: TextTokenizer,
        *,
        config: Config,
        plan: PlanIdentity,
        on_row: Callable[[], None] | None = None,
    ) -> FittedRows[EncodedRow]:
        """Render and tokenise rows; what is trained is what ``train_on`` says."""
        return fit_rows(
            rows,
            tokenizer,
            train_on=config.train_on,
            max_length=plan.max_length,
            too_long=cast("TooLong", plan.too_long),
            on_row=on_row,
        )

    def weigh(self, examples: Sequence[EncodedRow]) -> float:
        """Add up the weights of all trained tokens: every token counts the same, in whatever row it lies."""
        return sum(float(row.weights_T.sum(dtype="float64")) for row in examples)

    def pack(self, loaded: LoadedModel, examples: Sequence[EncodedRow], *, pack_tokens: int) -> list[PackedBatch]:
        """Pack rows in any company."""
        return loaded.pack(examples, pack_tokens=pack_tokens)

    def loss(self, tuned: Tuned, batch: PackedBatch, config: Config) -> SummedLoss:  # noqa: ARG002  protocol
        """Sum the weighted negative log-probabilities of a pack's targets; the step divides once.

        Units:
            Nats.
        """
        loaded = tuned.loaded
        nll, _ = chunked_nll(
            loaded.target_hidden(batch),
            loaded.head_weight_VD,
            batch.target_ids_M,
            batch.weights_M,
            form=loaded.head_form,
        )
        return SummedLoss(nll)


PLUGIN = SftObjective()
