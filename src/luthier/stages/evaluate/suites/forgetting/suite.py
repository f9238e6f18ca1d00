"""General text as questions: how well is each passage predicted?"""

from __future__ import annotations

import numpy as np

from luthier.foundation.schema.rows import Message, Row
from luthier.stages.evaluate.suite import LikelihoodSuite, Prompt, Source, draw, refuse_empty
from luthier.stages.evaluate.suites.forgetting.config import Config


class ForgettingSuite(LikelihoodSuite):
    """Weighs passages under each system."""

    def gather(self, config: Config, source: Source) -> list[Prompt]:
        """Return the passages: sampled ones, or the beginnings of the named rows' texts.

        Raises:
            EvalError: E-EVA-004 when the set has no text.
        """
        tokenizer = source.tokenizer
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.end_token_id
        length = min(config.max_tokens, source.max_positions - 1)
        if config.on is None:
            texts = [(f"passage-{i}", "", ids) for i, ids in enumerate(source.sample(config.passages, length)) if ids]
        else:
            names = [row.id for row in source.rows(config.on) if _text_of(row)]
            drawn = draw(names, config.passages, seed=source.seed, name=str(config.name))
            texts = [
                (row.id, row.group, tokenizer.encode(_text_of(row)).ids.tolist()[:length])
                for row in source.rows(config.on)
                if row.id in drawn and _text_of(row)
            ]
        prompts = [
            Prompt(
                id=name,
                row_id=name,
                cluster=group or name,
                messages=(),
                reference=Message(role="assistant", content=tokenizer.decode(ids)),
                token_ids={"": np.array([start, *ids], dtype=np.int32)},
            )
            for name, group, ids in texts
        ]
        refuse_empty(prompts, on=config.on or "passages of the base", needs="rows with text")
        return prompts


def _text_of(row: Row) -> str:
    return row.text or "\n".join(message.text for message in row.messages if message.text)


PLUGIN = ForgettingSuite()
