"""Take personal data and secrets out of what is kept of traffic and feedback."""

from __future__ import annotations

import json
from typing import Any

from luthier.foundation.schema.rows import Message
from luthier.instruments.text.privacy import find_private, replace_private


class Redactor:
    """Replaces values by placeholders such as ``<EMAIL_1>``; equal values get equal placeholders.

    One object serves one request or one piece of feedback, so that its texts still fit each other.
    """

    def __init__(self) -> None:
        """Start with no value seen."""
        self._names: dict[tuple[str, str], str] = {}

    @property
    def num_found(self) -> int:
        """How many different values were taken out."""
        return len(self._names)

    def redact(self, text: str) -> str:
        """Return the text with placeholders; the same object where nothing was found."""
        findings = find_private(text)
        return replace_private(text, findings, self._name) if findings else text

    def redact_value(self, value: Any) -> Any:  # noqa: ANN401  any JSON value
        """Redact every text in a JSON value; keys stay."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, dict):
            return {key: self.redact_value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.redact_value(item) for item in value]
        return value

    def redact_message(self, message: Message) -> dict[str, Any]:
        """Return a message as plain JSON, redacted; arguments of calls stay JSON texts."""
        plain = message.model_dump(mode="json", exclude_defaults=True)
        calls = plain.pop("tool_calls", ())
        redacted: dict[str, Any] = self.redact_value({"content": "", **plain})
        redacted["role"] = message.role
        if calls:
            redacted["tool_calls"] = [self._redact_call(call) for call in calls]
        return redacted

    def _redact_call(self, call: dict[str, Any]) -> dict[str, Any]:
        function = dict(call["function"])
        try:
            arguments = json.loads(function["arguments"])
        except ValueError:
            function["arguments"] = self.redact(function["arguments"])
        else:
            redacted = self.redact_value(arguments)
            if redacted != arguments:
                function["arguments"] = json.dumps(redacted, ensure_ascii=False)
        return {"type": "function", **call, "function": function}

    def _name(self, kind: str, value: str) -> str:
        key = (kind, " ".join(value.split()))
        if key not in self._names:
            number = 1 + sum(known == kind for known, _ in self._names)
            self._names[key] = f"<{kind.upper()}_{number}>"
        return self._names[key]
