"""Part rows into train, validation and test, so that nothing that belongs together is torn apart.

Rows of one group, and rows that say the same once normalised, form one component; a component goes to one
split whole. Components are dealt in the order of a seeded hash of their content, so neither the order of rows
nor their ids matter.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from luthier.foundation.core.errors import DataError
from luthier.foundation.core.hashing import sha256_bytes
from luthier.foundation.core.seeds import derive_seed
from luthier.foundation.schema.rows import Row
from luthier.foundation.schema.sections import Split
from luthier.stages.data.spool import Rows
from luthier.stages.data.texts import content_key, normalise

BY_CONVERSATION: Final = "conversation"
_GROUP_COLUMNS: Final = frozenset({"group", "conversation_id"})
"""Columns that every form reads into a row's ``group``."""

SPLIT_NAMES: Final = ("train", "validation", "test")


def split_rows(rows: Sequence[Row], split: Split, seed: int) -> dict[str, Rows]:
    """Part rows into ``train``, ``validation`` and ``test``, each in the rows' order.

    Args:
        rows: Cleaned rows; ``group`` is filled where ``split.by`` says so.
        split: Fractions.
        seed: The recipe's seed.

    Raises:
        DataError: E-DAT-012 when a split that is asked for stays empty.
    """
    components = find_components(rows)
    targets = {name: _target(len(rows), getattr(split, name)) for name in ("test", "validation")}
    sizes = dict.fromkeys(SPLIT_NAMES, 0)
    places: dict[int, str] = {}
    for members in sort_components(rows, components, seed):
        name = next(
            (each for each, target in targets.items() if _is_closer(sizes[each], len(members), target)), "train"
        )
        sizes[name] += len(members)
        places.update(dict.fromkeys(members, name))
    check_sizes(sizes, split, num_rows=len(rows), num_components=len(components))
    spooled = rows if isinstance(rows, Rows) else Rows(rows)
    indices = range(len(rows))
    return {name: spooled.select(index for index in indices if places[index] == name) for name in SPLIT_NAMES}


def _target(num_rows: int, fraction: float) -> int:
    return max(1, round(num_rows * fraction)) if fraction > 0 else 0


def _is_closer(size: int, added: int, target: int) -> bool:
    """Tell whether adding a component brings a split nearer to its target."""
    return target > size and abs(target - size - added) <= target - size


def find_components(rows: Sequence[Row]) -> list[list[int]]:
    """Return lists of row indices that must stay together: connected by group or by content."""
    parents = list(range(len(rows)))

    def find_root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    first_of: dict[str, int] = {}
    for index, row in enumerate(rows):
        for key in _tie_keys(row):
            other = find_root(first_of.setdefault(key, index))
            parents[find_root(index)] = other
    components: defaultdict[int, list[int]] = defaultdict(list)
    for index in range(len(rows)):
        components[find_root(index)].append(index)
    return list(components.values())


def _tie_keys(row: Row) -> tuple[str, ...]:
    """Return what ties a row to others: its group, what it says, and the prompt of a preference or judgement."""
    keys = [f"content:{content_key(row, has_system=False, has_tools=False)}"]
    if row.group:
        keys.append(f"group:{row.group}")
    if row.kind in {"preference", "judged"}:
        prompt = "\x1f".join(f"{message.role}:{normalise(message.text)}" for message in row.messages)
        keys.append(f"prompt:{sha256_bytes(prompt.encode('utf-8', 'surrogatepass'))}")
    return tuple(keys)


def sort_components(rows: Sequence[Row], components: list[list[int]], seed: int) -> list[list[int]]:
    """Sort components by a seeded hash of their content; components of equal content are alike."""
    stream = derive_seed(seed, "data", "split")

    def rank(members: list[int]) -> str:
        least = min(content_key(rows[index], exact=True) + rows[index].group for index in members)
        return sha256_bytes(f"{stream}:{least}".encode())

    return sorted(components, key=rank)


def check_sizes(sizes: dict[str, int], split: Split, *, num_rows: int, num_components: int) -> None:
    """Refuse a split that is asked for and got nothing.

    Raises:
        DataError: E-DAT-012.
    """
    asked = {"train": 1.0, "validation": split.validation, "test": split.test}
    empty = [name for name, fraction in asked.items() if fraction > 0 and not sizes[name]]
    if empty:
        raise DataError(
            "E-DAT-012",
            f"the {empty[0]} set is empty",
            got=f"{num_rows} rows in {num_components} groups that must stay together, split by {split.by}",
            needs="at least as many groups as splits that are asked for",
            fix="add rows, choose another split.by, or set data.split.validation or data.split.test to 0",
            field=f"data.split.{empty[0]}" if empty[0] != "train" else "data.split",
        )


def assign_groups(rows: Sequence[Row], by: str) -> Sequence[Row]:
    """Fill ``group`` from a column, as a digest, so that a customer's name in it goes no further.

    Args:
        rows: Rows as read.
        by: ``conversation`` leaves the group as read; else a column that every row has.

    Raises:
        DataError: E-DAT-013 for a row without the column.
    """
    if by == BY_CONVERSATION:
        return rows
    first = next((row for row in rows if _group_value(row, by) is None), None)
    if first is not None:
        num_missing = sum(_group_value(row, by) is None for row in rows)
        columns = sorted({name for row in rows[:1000] for name in row.fields})
        raise DataError(
            "E-DAT-013",
            f"{num_missing} of {len(rows)} rows have no column {by!r} to split by",
            got=f"row {first.id} has {', '.join(sorted(first.fields)) or 'no further columns'}",
            origin=str(first.origin),
            allowed=", ".join([BY_CONVERSATION, *columns]),
            fix=f"split: {{by: {columns[0] if columns else BY_CONVERSATION}}}",
            field="data.split.by",
        )
    return Rows(row.model_copy(update={"group": _digest_group(row, by)}) for row in rows)


def _digest_group(row: Row, by: str) -> str:
    return sha256_bytes(json.dumps(_group_value(row, by), sort_keys=True).encode())[:16]


def _group_value(row: Row, by: str) -> object:
    if by in _GROUP_COLUMNS and row.group:
        return row.group
    return row.fields.get(by)
