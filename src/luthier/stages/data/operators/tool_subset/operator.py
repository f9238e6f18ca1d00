"""Leave out tools that a row neither calls nor draws. Each row is judged by its id alone, so order does not matter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from luthier.foundation.core.hashing import sha256_json
from luthier.foundation.schema.rows import Row
from luthier.stages.data.operators.tool_subset.config import Config
from luthier.stages.data.outcomes import Changed, HeldOut, Kept, Outcome
from luthier.stages.data.texts import iterate_messages

REASON = "tools_left_out"


class ToolSubsetOperator:
    """See ``Config``."""

    def apply(self, rows: Sequence[Row], config: Config, held_out: HeldOut) -> Iterator[Outcome]:  # noqa: ARG002
        """Judge each row by itself."""
        for row in rows:
            yield leave_out_tools(row, config)

    def shape(self, row: Row, config: Config) -> Kept | Changed:
        """Show an evaluation row's question as a training row's, unless the options say otherwise."""
        return leave_out_tools(row, config) if config.evaluation else Kept(row)


def leave_out_tools(row: Row, config: Config) -> Kept | Changed:
    """Keep the tools that the row calls and the drawn others, in the row's order."""
    names = [str(tool["function"]["name"]) for tool in row.tools]
    called = {call.function.name for message in iterate_messages(row) for call in message.tool_calls}
    uncalled = {name for name in names if name not in called}
    drawn = sorted(uncalled, key=lambda name: sha256_json([config.seed, row.id, name]))[: config.others]
    shown = called | set(drawn)
    tools = tuple(tool for tool, name in zip(row.tools, names, strict=True) if name in shown)
    if len(tools) == len(row.tools):
        return Kept(row)
    detail = {"shown": len(tools), "of": len(row.tools), "called": len(set(names) & called)}
    return Changed(row.model_copy(update={"tools": tools}), row, (REASON,), detail)


PLUGIN = ToolSubsetOperator()
