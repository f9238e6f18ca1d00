"""Logging on stderr, with secrets taken out before a handler sees them."""

from __future__ import annotations

import logging
import re
import sys
from typing import Final

ROOT_NAME: Final = "luthier"
SECRET_PATTERN: Final = re.compile(
    r"(?i)\b(api[_-]?key|token|secret|password|passwd|authorization)\b(\s*[=:]\s*|\s+bearer\s+)(\"[^\"]*\"|'[^']*'|\S+)"
)


def redact(text: str) -> str:
    """Replace the values of keys that name secrets by ``[redacted]``."""
    return SECRET_PATTERN.sub(lambda match: f"{match[1]}{match[2]}[redacted]", text)


class RedactingFilter(logging.Filter):
    """Redacts every record that passes."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the message in place and let it pass."""
        record.msg = redact(record.getMessage())
        record.args = ()
        return True


def set_up_log(level: int = logging.WARNING) -> None:
    """Send our log to stderr once; a second call only changes the level."""
    logger = logging.getLogger(ROOT_NAME)
    logger.setLevel(level)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        handler.addFilter(RedactingFilter())
        logger.addHandler(handler)
        logger.propagate = False


def get_logger(room: str) -> logging.Logger:
    """Return the logger of one room, for example ``stages.train``."""
    return logging.getLogger(f"{ROOT_NAME}.{room}")
