"""Refuse files that have no place in the repository: above 500 kB, or holding a private key."""

from __future__ import annotations

import re
import sys
from pathlib import Path

LARGEST_BYTES = 500_000
PRIVATE_KEY = re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/=\n]{40}")


def find_faults(paths: list[Path]) -> list[str]:
    """Return one sentence for each file that may not be committed."""
    faults = []
    for path in paths:
        if not path.is_file():
            continue
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            faults.append(f"{path}: {size} bytes; at most {LARGEST_BYTES} are committed")
        elif PRIVATE_KEY.search(path.read_bytes()):
            faults.append(f"{path}: holds a private key")
    return faults


if __name__ == "__main__":
    found = find_faults([Path(name) for name in sys.argv[1:]])
    for fault in found:
        print(fault, file=sys.stderr)
    sys.exit(1 if found else 0)
