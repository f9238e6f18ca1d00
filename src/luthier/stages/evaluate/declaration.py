"""What lifecycle knows of stage 5 without torch; see ``foundation.schema.protocols.StageDeclaration``."""

from __future__ import annotations

from typing import Final

VERSION: Final = 1
