"""Which parts of the house add routes and observers to the server, in this order."""

from __future__ import annotations

from typing import Final

from luthier.server.metrics import make_telemetry
from luthier.server.observers import ExtensionMaker

EXTENSIONS: Final[tuple[ExtensionMaker, ...]] = (make_telemetry,)
