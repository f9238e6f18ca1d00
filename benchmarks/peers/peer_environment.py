"""Make ``.bench-venv``: TRL and what it needs at our own versions, apart from the environment that is measured against.

Standard library only. Run by a benchmark before its first peer; an environment that is whole is kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / ".bench-venv"
PACKAGES = ("trl==1.16.0", "transformers", "peft", "datasets", "accelerate")

sys.path.insert(0, str(REPOSITORY / "scripts" / "setup"))
import environment as setup  # noqa: E402  the set-up's own code decides which build of torch fits


def ensure_peer_python() -> Path:
    """Return the peer environment's interpreter, building the environment where it is not whole.

    Raises:
        SystemExit: With one sentence where the machine lacks something.
    """
    peers = setup.Environment(str(FOLDER))
    python = Path(peers.python)
    if python.exists() and not Path(peers.path(setup.UNFINISHED)).exists():
        return python
    try:
        peers.begin()
        peers.install_torch()
        peers.install(["--constraint", str(REPOSITORY / "constraints.txt"), *PACKAGES])
    except setup.Lacks as lack:
        sys.exit(f"the peers' environment cannot be made: {lack}")
    peers.finish()
    return python
