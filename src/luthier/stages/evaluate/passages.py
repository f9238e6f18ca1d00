"""Passages that the base itself sampled: made once for a base, a seed and a size, kept beside the stage's folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from luthier.foundation.core.files import write_atomic
from luthier.foundation.core.hashing import sha256_json
from luthier.foundation.schema.protocols import Context

VERSION: Final = 1


def sample_once(
    ctx: Context, what: dict[str, str | int], sample: Callable[[int, int], list[list[int]]], count: int, num_tokens: int
) -> list[list[int]]:
    """Return the passages of this base, from the file where an earlier evaluation sampled them.

    Args:
        ctx: Its folder's neighbours hold what evaluations of one base share.
        what: Names the base and how it is loaded; with seed, count and length it names the file.
        sample: Samples (count, tokens of each).
        count: Passages.
        num_tokens: Tokens of each at most.

    Returns:
        Token ids of each passage. A file that does not hold what its digest says is made again.
    """
    key = sha256_json([VERSION, what, ctx.seed, count, num_tokens])
    path = ctx.folder.parent / f"passages-{key[:16]}.json"
    if path.is_file():
        stored = _read(path)
        if stored is not None:
            return stored
        ctx.progress.say(f"{path.name} is damaged; the passages are sampled again")
    ctx.progress.say(f"the base writes {count} passages of its own, once")
    passages = sample(count, num_tokens)
    write_atomic(path, json.dumps({"passages": passages, "sha256": sha256_json(passages)}).encode(), fs=ctx.fs)
    return passages


def _read(path: Path) -> list[list[int]] | None:
    """Return what a file holds, or None where it is not what was written."""
    try:
        stored = json.loads(path.read_bytes())
        passages: list[list[int]] = stored["passages"]
        is_whole = stored["sha256"] == sha256_json(passages)
    except (ValueError, KeyError, TypeError):
        return None
    return passages if is_whole else None
