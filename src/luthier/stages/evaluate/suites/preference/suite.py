"""Held-out preferences as questions: how likely is each of a pair's answers?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from luthier.foundation.core.errors import EvalError
from luthier.foundation.schema.rows import Row
from luthier.instruments.text.pairs import PREFERENCE, EncodedPair, encode_pair
from luthier.stages.evaluate.suite import LikelihoodSuite, Prompt, Source, draw, refuse_empty
from luthier.stages.evaluate.suites.preference.config import Config

BASE: Final = "base"


class PreferenceSuite(LikelihoodSuite):
    """Weighs chosen and rejected answers under each system."""

    def gather(self, config: Config, source: Source) -> list[Prompt]:
        """Return the pairs.

        Raises:
            EvalError: E-EVA-001 for a pair too long, E-EVA-004 for a set without preferences, E-EVA-010 where the
                base is not asked.
            DataError: When a pair cannot be rendered.
        """
        if BASE not in source.systems:
            raise EvalError(
                "E-EVA-010",
                f"the suite {config.name or 'preference'!r} measures gains over the base, and the base is not asked",
                got=f"systems {', '.join(source.systems)}",
                allowed="systems that include base",
                fix="systems: [base, tuned]",
                field="evaluate.systems",
            )
        ids = [row.id for row in source.rows(config.on) if row.kind == PREFERENCE]
        drawn = draw(ids, config.max_questions, seed=source.seed, name=str(config.name))
        wanted = (row for row in source.rows(config.on) if row.id in drawn)  # read again, never held as a whole
        prompts = [_put(row, pair) for row, pair in _encode(wanted, config, source)]
        if len(prompts) < len(drawn):
            source.say(f"{len(drawn) - len(prompts)} pairs of {config.on!r} are longer than the base holds; left out")
        refuse_empty(prompts, on=config.on, needs="preference rows: prompt, chosen, rejected")
        return prompts


def _encode(rows: Iterable[Row], config: Config, source: Source) -> Iterator[tuple[Row, EncodedPair]]:
    for row in rows:
        pair = encode_pair(row, source.tokenizer)
        longest = max(sequence.num_tokens for sequence in pair.sequences)
        if longest <= source.max_positions:
            yield row, pair
        elif config.too_long == "refuse":
            raise EvalError(
                "E-EVA-001",
                f"the pair {row.id!r} is longer than the base can hold",
                got=f"{longest} tokens",
                origin=str(row.origin),
                allowed=f"prompt and answer within the base's {source.max_positions} positions",
                fix=f"{{type: preference, on: {config.on}, too_long: drop}}",
                field="evaluate.suites",
            )


def _put(row: Row, pair: EncodedPair) -> Prompt:
    return Prompt(
        id=row.id,
        row_id=row.id,
        cluster=row.group or row.id,
        messages=row.messages,
        reference=row.chosen[0],
        token_ids={"": pair.chosen.token_ids_T},
        fields=row.fields,
        pair=pair,
    )


PLUGIN = PreferenceSuite()
