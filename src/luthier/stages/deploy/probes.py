"""The probes as the live model scored them before training ended: what every later form must repeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.foundation.core.errors import DataError, StoreError
from luthier.foundation.schema.plan import Plan
from luthier.foundation.schema.protocols import Blobs
from luthier.foundation.schema.rows import Row
from luthier.foundation.schema.run import Run
from luthier.instruments.text.encode import EncodedRow, find_template, weigh_row
from luthier.instruments.text.tokens import TextTokenizer


@dataclass(frozen=True)
class LiveProbe:
    """One probe with the live model's scores, fp32 and evaluation mode.

    Attributes:
        row: The probe.
        token_ids_T: Its tokens as training rendered them.
        logps_M: Log-probability of each token after the first.
        best_ids_M: The token that the live model found likeliest there.
        gaps_M: Lead of that token over the second.

    Shapes:
        T tokens, M = T - 1 scored ones.

    Units:
        Nats.
    """

    row: Row
    token_ids_T: np.ndarray
    logps_M: np.ndarray
    best_ids_M: np.ndarray
    gaps_M: np.ndarray

    def encode(self) -> EncodedRow:
        """Return the tokens so that each after the first is scored."""
        return encode_scored(self.row.id, self.token_ids_T, num_prompt=1)


def encode_scored(name: str, token_ids: Sequence[int] | np.ndarray, *, num_prompt: int) -> EncodedRow:
    """Return a row whose tokens after the first ``num_prompt`` are scored."""
    weights_T = np.ones(len(token_ids), dtype=np.float32)
    weights_T[:num_prompt] = 0.0
    return EncodedRow(name, np.asarray(token_ids, dtype=np.int32), weights_T)


def read_live_probes(plan: Plan, run: Run, blobs: Blobs) -> tuple[LiveProbe, ...]:
    """Read the plan's probes with the scores that the run stored.

    Raises:
        StoreError: E-DEP-004 when scores do not belong to the plan's probes.
    """
    rows = {row.id: row for row in blobs.get_rows(plan.identity.probes)}
    probes = []
    for line in blobs.get_lines(run.identity.probe_scores):
        row = rows.get(str(line["id"]))
        columns = [np.asarray(line[name]) for name in ("token_ids", "logps", "best_ids", "gaps")]
        if row is None or any(len(column) != len(columns[0]) - 1 for column in columns[1:]):
            raise StoreError(
                "E-DEP-004",
                "the run's probe scores do not belong to its plan",
                got=f"scores of {line['id']!r}",
                origin=f"run {run.digest[:12]}",
                allowed=f"the {len(rows)} probes of plan {plan.digest[:12]}",
                fix="luthier train RECIPE",
            )
        ids_T, logps_M, best_M, gaps_M = columns
        probes.append(
            LiveProbe(row, ids_T.astype(np.int32), logps_M.astype(np.float64), best_M, gaps_M.astype(np.float64))
        )
    return tuple(probes)


def to_conversation(row: Row) -> Row:
    """Return a row as training renders it whole: a preference pair is its prompt with the chosen answer."""
    if row.kind != "preference":
        return row
    return Row(id=row.id, messages=(*row.messages, *row.chosen), tools=row.tools, origin=row.origin)


def find_rendering_breach(probes: Sequence[LiveProbe], tokenizer: TextTokenizer) -> str:
    """Say which probe another tokenizer and template write differently; empty where all token ids are equal.

    Args:
        probes: As training rendered them.
        tokenizer: A bundle's own, with its template.
    """
    for probe in probes:
        try:
            ids_T = render_ids(to_conversation(probe.row), tokenizer)
        except DataError as error:
            return f"{probe.row.id} cannot be rendered: {error.problems[0].what}"
        if not np.array_equal(ids_T, probe.token_ids_T):
            return f"{probe.row.id} is written differently: {_show_difference(probe.token_ids_T, ids_T, tokenizer)}"
    return ""


def render_ids(row: Row, tokenizer: TextTokenizer) -> np.ndarray:
    """Render and tokenise a whole row as training does.

    Raises:
        DataError: When the template refuses it, or there is none.
    """
    if row.kind == "text":
        return weigh_row(row, tokenizer).tokens.ids
    origin = str(row.origin)
    text = find_template(tokenizer, origin).render_text(row.messages, row.tools, origin=origin)
    return tokenizer.encode(text).ids


def _show_difference(live_T: np.ndarray, ours_T: np.ndarray, tokenizer: TextTokenizer) -> str:
    shared = min(len(live_T), len(ours_T))
    unequal = np.flatnonzero(live_T[:shared] != ours_T[:shared])
    place = int(unequal[0]) if len(unequal) else shared
    trained, bundle = (tokenizer.decode(ids_T[place : place + 4]) for ids_T in (live_T, ours_T))
    return f"token {place + 1} begins {bundle!r} where training wrote {trained!r}"
