"""From what a client sends to one piece of feedback: checked, completed with what was kept, redacted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from luthier.foundation.core.errors import DataError
from luthier.foundation.core.hashing import canonical_json
from luthier.foundation.schema.feedback import Feedback, FeedbackKind, FeedbackPayload, name_feedback
from luthier.foundation.schema.rows import Message
from luthier.foundation.schema.telemetry import KnownResponse
from luthier.instruments.text.form_messages import Place, check_order, read_messages, read_tools
from luthier.stages.monitor.redaction import Redactor
from luthier.stages.monitor.telemetry_log import RESPONSE_ID

MAX_TEXT: Final = 100_000
MAX_COMMENT: Final = 10_000
MAX_MESSAGES: Final = 512
MAX_BYTES: Final = 1_000_000
FIELDS: Final = ("response_id", "rating", "correction", "preferred", "rejected", "comment", "messages", "tools")
RATINGS: Final = ("up", "down", "1", "2", "3", "4", "5")
EXAMPLE: Final = '{"response_id": "chatcmpl-…", "rating": "down", "correction": "what it should have said"}'


@dataclass(frozen=True, slots=True)
class FeedbackForm:
    """What a client sent, checked for form and bounds.

    Attributes:
        origin: Where it came from, for errors.
    """

    response_id: str
    rating: str
    correction: str
    preferred: str
    rejected: str
    comment: str
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...]
    origin: str

    @property
    def kind(self) -> FeedbackKind:
        """What it can teach."""
        if self.correction:
            return "correction"
        if self.preferred:
            return "preference"
        return "rating" if self.rating else "comment"


def read_form(value: Mapping[str, Any], *, origin: str = "feedback") -> FeedbackForm:
    """Check what a client sent.

    Args:
        value: One JSON object.
        origin: Where it came from: ``feedback``, or file and line.

    Raises:
        DataError: E-MON-020 for what feedback is not; E-TXT-013 to E-TXT-018 for messages that are none.
    """
    unknown = sorted(str(key) for key in value if key not in FIELDS)
    if unknown:
        raise _refuse("feedback has no such field", unknown[0], origin, allowed=", ".join(FIELDS))
    try:
        size = len(canonical_json(dict(value)))
    except (ValueError, UnicodeError, RecursionError) as error:
        raise _refuse("feedback must be plain JSON text", repr(error), origin) from error
    if size > MAX_BYTES:
        raise _refuse("feedback is too long", f"{size:,} bytes", origin, allowed=f"{MAX_BYTES:,} bytes")
    form = FeedbackForm(
        response_id=_read_id(value.get("response_id"), origin),
        rating=_read_rating(value.get("rating"), origin),
        correction=_read_text(value, "correction", origin),
        preferred=_read_text(value, "preferred", origin),
        rejected=_read_text(value, "rejected", origin),
        comment=_read_text(value, "comment", origin, limit=MAX_COMMENT),
        messages=_read_conversation(value.get("messages"), origin),
        tools=read_tools(value.get("tools"), Place(origin, "tools")),
        origin=origin,
    )
    _check_sense(form)
    return form


def build_feedback(form: FeedbackForm, known: KnownResponse | None, *, time: str) -> Feedback:
    """Complete a form with what is known of its response, and redact it.

    Args:
        form: What the client sent.
        known: The response that it names; None where there is none.
        time: When it came.

    Raises:
        DataError: E-MON-021 for an unknown response, E-MON-022 where what was said is neither sent nor kept.
    """
    if known is None:
        raise DataError(
            "E-MON-021",
            "no response with this id is known here",
            got=form.response_id,
            origin=form.origin,
            allowed="the `id` of an answer that this workspace served and still remembers",
            fix="send the `id` field of the completion, such as chatcmpl-…",
            field="response_id",
        )
    redactor = Redactor()
    messages, tools, rejected = form.messages, form.tools, form.rejected
    said = [redactor.redact_message(message) for message in messages] or list(known.messages)
    schemas = redactor.redact_value(tools) if messages else list(known.tools)
    if form.kind in {"correction", "preference"} and not said:
        raise _lacks(form, "messages", "a correction or preference needs the conversation that it is about")
    if form.kind == "preference" and not rejected:
        if len(known.answers) != 1:
            raise _lacks(form, "rejected", "a preference needs the answer that is worse")
        rejected = known.answers[0]
    payload = FeedbackPayload(
        messages=tuple(said),
        tools=tuple(schemas),
        correction=redactor.redact(form.correction),
        preferred=redactor.redact(form.preferred),
        rejected=redactor.redact(rejected),
        comment=redactor.redact(form.comment),
    )
    if form.kind == "preference" and payload.preferred == payload.rejected:
        raise _refuse("the preferred answer is the rejected one", form.preferred, form.origin, field="preferred")
    return Feedback(
        id=name_feedback(form.response_id, form.rating, payload),
        time=time,
        response_id=form.response_id,
        release=known.release,
        model=known.model,
        kind=form.kind,
        rating=form.rating,
        payload=payload,
    )


def _read_id(value: object, origin: str) -> str:
    if not isinstance(value, str) or not RESPONSE_ID.fullmatch(value):
        raise _refuse("feedback names the response that it is about", value, origin, field="response_id")
    return value


def _read_rating(value: object, origin: str) -> str:
    if value is None:
        return ""
    rating = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if rating not in RATINGS:
        raise _refuse("a rating is up, down, or 1 to 5", value, origin, field="rating", allowed=", ".join(RATINGS))
    return rating


def _read_text(value: Mapping[str, Any], name: str, origin: str, *, limit: int = MAX_TEXT) -> str:
    text = value.get(name)
    if text is None:
        return ""
    if not isinstance(text, str) or not text.strip():
        raise _refuse(f"{name} must be a text that says something", text, origin, field=name)
    if len(text) > limit:
        shown = f"{len(text):,} characters"
        raise _refuse(f"{name} is too long", shown, origin, field=name, allowed=f"{limit:,} characters")
    return text


def _read_conversation(value: object, origin: str) -> tuple[Message, ...]:
    if value is None:
        return ()
    if isinstance(value, list) and len(value) > MAX_MESSAGES:
        shown = f"{len(value):,} messages"
        raise _refuse("messages are too many", shown, origin, field="messages", allowed=f"{MAX_MESSAGES} messages")
    messages = read_messages(value, Place(origin, "messages"))
    check_order(messages, origin)
    if messages[-1].role not in {"user", "tool"}:
        raise _refuse(
            "messages end before the answer", f"the last is of role {messages[-1].role}", origin, field="messages"
        )
    return messages


def _check_sense(form: FeedbackForm) -> None:
    if not (form.rating or form.correction or form.preferred or form.comment):
        raise _refuse("feedback must say something", "only a response_id", form.origin)
    if form.correction and form.preferred:
        raise _refuse(
            "correction and preferred are two ways to say what is better; give one",
            "both",
            form.origin,
            field="preferred",
        )
    if form.rejected and not form.preferred:
        raise _refuse("rejected without preferred", form.rejected, form.origin, field="rejected")


def _refuse(what: str, got: object, origin: str, *, field: str = "", allowed: str = EXAMPLE) -> DataError:
    return DataError("E-MON-020", what, got=got, origin=origin, allowed=allowed, fix=f"send {EXAMPLE}", field=field)


def _lacks(form: FeedbackForm, field: str, what: str) -> DataError:
    return DataError(
        "E-MON-022",
        f"{what}, and content is not kept",
        got=f"feedback on {form.response_id} without {field}",
        origin=form.origin,
        needs=f"`{field}` in the feedback, or a server that keeps content",
        fix=f"send `{field}` along, or serve with: luthier serve --keep-content",
        field=field,
    )
