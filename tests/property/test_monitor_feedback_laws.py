"""Whatever is sent as feedback is taken or refused with a code; what is taken is whole, private values aside."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from luthier.foundation.core.errors import DataError
from luthier.foundation.core.hashing import canonical_json
from luthier.foundation.schema.feedback import Feedback
from luthier.foundation.schema.telemetry import KnownResponse
from luthier.instruments.text.forms import to_row
from luthier.instruments.text.privacy import find_private
from luthier.stages.monitor.feedback import FIELDS, build_feedback, read_form
from luthier.stages.monitor.feedback_rows import to_rows

KNOWN = KnownResponse(response_id="r1", model="desk", release="ab" * 32, answers=("an answer",))
ODD_TEXT = st.text(st.characters(codec=None), max_size=30)
PLAIN_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60).filter(lambda text: bool(text.strip()))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ODD_TEXT, inner, max_size=4),
    max_leaves=12,
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant", "tool", "x"]), "content": JSON}),
    max_size=4,
)
SENT = st.dictionaries(
    st.sampled_from([*FIELDS, "user"]), JSON | MESSAGES | st.sampled_from(["up", 3, "r1", "card"]), max_size=6
)


@given(SENT)
def test_anything_that_is_sent_is_taken_or_refused_with_a_code(sent: dict[str, Any]) -> None:
    refusal: DataError | None = None
    stored = b""
    try:
        piece = build_feedback(read_form({"response_id": "r1", **sent}), KNOWN, time="2026-03-02T00:00:00Z")
        stored = canonical_json(piece.model_dump(mode="json"))
    except DataError as error:
        refusal = error
    assert stored or refusal
    if refusal:
        assert refusal.code.startswith(("E-MON-02", "E-TXT-01"))
        assert refusal.problems[0].render().encode(), "it can be shown"


@given(PLAIN_TEXT, PLAIN_TEXT, st.lists(PLAIN_TEXT, min_size=1, max_size=3))
def test_what_was_said_reaches_the_row_whole_but_for_what_is_private(
    correction: str, tail: str, asked: list[str]
) -> None:
    messages = [
        message
        for text in asked
        for message in ({"role": "user", "content": text}, {"role": "assistant", "content": tail})
    ][:-1]
    form = read_form({"response_id": "r1", "correction": correction, "messages": messages})
    piece: Feedback = build_feedback(form, KNOWN, time="2026-03-02T00:00:00Z")
    (record,) = to_rows([piece.model_copy(update={"state": "accepted"})], "correction")
    row = to_row(record, form="messages")

    sent = [*(message["content"] for message in messages), correction]
    for text, kept in zip(sent, (message.text for message in row.messages), strict=True):
        assert kept == text or find_private(text)
