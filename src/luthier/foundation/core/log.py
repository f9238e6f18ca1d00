"""Logging on stderr, with secrets taken out of every line."""

from __future__ import annotations

import logging
import re
import sys
from typing import Final, TextIO

ROOT_NAME: Final = "luthier"
NAMED_SECRET: Final = re.compile(
    r"""(?ix)
    ( [\w-]*(?:api[_-]?key|token|secret|password|passwd|authorization)["']?\s*[=:]\s*(?:(?:bearer|basic)\s+)?
    | \bbearer\s+ )
    ( "[^"]*" | '[^']*' | [^\s,;&}]+ )
    """
)
ADDRESS_PASSWORD: Final = re.compile(r"(://[^\s/:@]*:)[^\s/]+(?=@)")


def redact(text: str) -> str:
    """Replace values of keys that name secrets, bearer tokens and passwords in addresses by ``[redacted]``."""
    return NAMED_SECRET.sub(r"\1[redacted]", ADDRESS_PASSWORD.sub(r"\1[redacted]", text))


class RedactingFormatter(logging.Formatter):
    """Redacts the whole line as it will be written, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """Format, then take the secrets out."""
        return redact(super().format(record))


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what ``sys.stderr`` is at that moment, so that a replaced stream is followed."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line to the current standard error."""
        self.stream = sys.stderr
        super().emit(record)


def set_up_log(level: int = logging.WARNING) -> None:
    """Send our log to stderr once; a second call only changes the level."""
    logger = logging.getLogger(ROOT_NAME)
    logger.setLevel(level)
    if not logger.handlers:
        handler = StderrHandler()
        handler.setFormatter(RedactingFormatter("%(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


def get_logger(room: str) -> logging.Logger:
    """Return the logger of one room, for example ``stages.train``."""
    return logging.getLogger(f"{ROOT_NAME}.{room}")
