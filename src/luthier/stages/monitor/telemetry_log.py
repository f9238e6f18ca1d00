"""The traffic log: one JSON line an answered request, a file a day, bounded; what ``monitor drift`` reads."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from luthier.foundation.core.append import append_line
from luthier.foundation.core.files import REAL, FileSystem
from luthier.foundation.schema.telemetry import KnownResponse, RequestContent, RequestFacts
from luthier.stages.monitor.redaction import Redactor

MAX_LINE_BYTES: Final = 4 << 20
RESPONSE_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_DIGEST: Final = re.compile(r"[0-9A-Za-z]{1,64}")
_CONTENT: Final = frozenset({"text", "messages", "answers", "tools"})
_FILE: Final = re.compile(r"(\d{4}-\d\d-\d\d)(?:\.(\d+))?\.jsonl")


@dataclass(frozen=True, slots=True)
class LogBounds:
    """How large the log may grow.

    Attributes:
        file_bytes: A day's file that is longer is followed by another.
        release_bytes: All files of one release together; the oldest go first.
        search_bytes: How far back a response is looked for.
    """

    file_bytes: int = 64 << 20
    release_bytes: int = 1 << 30
    search_bytes: int = 128 << 20


class TrafficLog:
    """Writes ``<folder>/<release>/<day>.jsonl`` and finds lines again.

    A line has ``time``, ``id``, ``model``, ``release``, ``prompt_tokens``, ``completion_tokens``, ``finish_reason``,
    ``seconds`` and, where it is known, ``logprob``: the mean over the answer's tokens. Where content is kept it also
    has ``text`` (the last user's message), ``messages``, ``answers`` and ``tools``, all redacted.

    Args:
        folder: ``.luthier/telemetry``; appears with the first line.
        fs: File system that lines are written through.
        bounds: How large it may grow.
    """

    def __init__(self, folder: Path, *, fs: FileSystem = REAL, bounds: LogBounds | None = None) -> None:
        """Remember the place; nothing is written yet."""
        self._folder = folder
        self._fs = fs
        self._bounds = bounds or LogBounds()

    def write(self, facts: RequestFacts) -> None:
        """Append one answered request; what was refused has no line.

        Raises:
            OSError: When the line could not be written; the log is as it was.
        """
        if not facts.response_id or not _DIGEST.fullmatch(facts.release):
            return
        folder = self._folder / facts.release
        folder.mkdir(parents=True, exist_ok=True)
        line = describe_request(facts)
        data = _to_bytes(line)
        if len(data) > MAX_LINE_BYTES:
            kept = {key: value for key, value in line.items() if key not in _CONTENT}
            data = _to_bytes(kept)
        append_line(self._choose_file(folder, line["time"][:10]), data, fs=self._fs)

    def find(self, response_id: str) -> dict[str, Any] | None:
        """Return the newest line of a response, or None where the bounded search does not meet it."""
        if not RESPONSE_ID.fullmatch(response_id):
            return None
        needle = f'"id":{json.dumps(response_id)}'.encode()
        budget = self._bounds.search_bytes
        for path in sorted(self._folder.glob("*/*.jsonl"), key=_file_age, reverse=True):
            size = path.stat().st_size
            if size > budget:
                return None
            budget -= size
            found = _find_line(path.read_bytes(), needle)
            if found is not None:
                return found
        return None

    def _choose_file(self, folder: Path, day: str) -> Path:
        """Return the day's newest file; a full one is followed by another, and the oldest make room."""
        files = sorted(iterate_files(folder))
        newest = [path for (found, _), path in files if found == day][-1:]
        if newest and newest[0].stat().st_size < self._bounds.file_bytes:
            return newest[0]
        number = max((number for (found, number), _ in files if found == day), default=-1) + 1
        self._make_room([path for _, path in files])
        return folder / (f"{day}.jsonl" if number == 0 else f"{day}.{number}.jsonl")

    def _make_room(self, files: list[Path]) -> None:
        total = sum(path.stat().st_size for path in files)
        for path in files:
            if total + self._bounds.file_bytes <= self._bounds.release_bytes:
                return
            total -= path.stat().st_size
            path.unlink(missing_ok=True)


def iterate_files(folder: Path) -> Iterator[tuple[tuple[str, int], Path]]:
    """Yield a release's files of the log with day and number; sorting them puts them in order of time."""
    for path in folder.glob("*.jsonl"):
        matched = _FILE.fullmatch(path.name)
        if matched:
            yield (matched[1], int(matched[2] or 0)), path


def describe_request(facts: RequestFacts) -> dict[str, Any]:
    """Return the line of one request."""
    time = datetime.fromtimestamp(facts.time, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line: dict[str, Any] = {
        "time": time,
        "id": facts.response_id,
        "model": facts.model,
        "release": facts.release,
        "prompt_tokens": facts.prompt_tokens,
        "completion_tokens": facts.completion_tokens,
        "finish_reason": facts.finish_reason,
        "seconds": round(facts.seconds, 6),
    }
    if facts.mean_logprob is not None and math.isfinite(facts.mean_logprob):
        line["logprob"] = facts.mean_logprob
    return line | _describe_content(facts.content) if facts.content is not None else line


def read_response(line: Mapping[str, Any]) -> KnownResponse:
    """Return what a line of the log tells of its response."""
    messages: Sequence[dict[str, Any]] = line.get("messages", ())
    return KnownResponse(
        response_id=line["id"],
        model=line.get("model", ""),
        release=line.get("release", ""),
        has_content=bool(messages),
        messages=tuple(messages),
        answers=tuple(line.get("answers", ())),
        tools=tuple(line.get("tools", ())),
    )


def _describe_content(content: RequestContent) -> dict[str, Any]:
    redactor = Redactor()
    messages = [redactor.redact_message(message) for message in content.messages]
    asked = next((message.text for message in reversed(content.messages) if message.role == "user"), "")
    found: dict[str, Any] = {
        "text": redactor.redact(asked),
        "messages": messages,
        "answers": [redactor.redact(answer) for answer in content.answers],
    }
    return found | {"tools": redactor.redact_value(content.tools)} if content.tools else found


def _to_bytes(line: dict[str, Any]) -> bytes:
    text = json.dumps(line, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", errors="replace")


def _file_age(path: Path) -> float:
    return path.stat().st_mtime


def _find_line(data: bytes, needle: bytes) -> dict[str, Any] | None:
    """Search from the end, since feedback follows its answer; a needle inside a text is no match."""
    end = len(data)
    while (found := data.rfind(needle, 0, end)) >= 0:
        start = data.rfind(b"\n", 0, found) + 1
        stop = data.find(b"\n", found)
        try:
            line = json.loads(data[start : stop if stop >= 0 else len(data)])
        except ValueError:
            line = None
        if isinstance(line, dict) and f'"id":{json.dumps(line.get("id"))}'.encode() == needle:
            return line
        end = start
    return None
