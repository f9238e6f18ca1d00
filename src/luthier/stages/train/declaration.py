"""What lifecycle knows of stage 4 without torch; see ``foundation.schema.protocols.StageDeclaration``."""

from __future__ import annotations

from typing import Final

VERSION: Final = 1
