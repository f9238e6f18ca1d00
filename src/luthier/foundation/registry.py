"""THE table of what plugs in: names to package paths, strings only, so that listing costs nothing.

To add a plug-in: a folder (or a metric's file) in its family's home, one row here, one test, one docs page.
Third parties add rows by an entry point ``luthier.<family>`` whose value is a package path.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Final, Literal, NamedTuple

from luthier.foundation.core.errors import MissingExtra, RecipeError
from luthier.foundation.schema.plugins import PluginConfig

Maturity = Literal["stable", "preview"]
OURS: Final = "luthier"


class Row(NamedTuple):
    """One plug-in: where it lies, where it comes from, how far it may be trusted."""

    package: str
    source: str = "ours"
    maturity: Maturity = "stable"
    extra: str = ""
    distribution: str = OURS


@dataclass(frozen=True)
class Table:
    """One family of plug-ins.

    Attributes:
        family: Plural name, as ``luthier list FAMILY`` takes it.
        runtime: Module that holds the runtime half inside a plug-in's folder; empty where one file holds both.
        home: Package below which built-in plug-ins lie.
        rows: Built-in rows by name.
    """

    family: str
    runtime: str
    home: str
    rows: Mapping[str, Row]


_STAGES = "luthier.stages"
_INSTRUMENTS = "luthier.instruments"


def _table(family: str, runtime: str, home: str, **rows: Row) -> tuple[str, Table]:
    return family, Table(family, runtime, home, rows)


def _built_in(home: str, *names: str, source: str = "ours", maturity: Maturity = "stable") -> dict[str, Row]:
    return {name: Row(f"{home}.{name}", source=source, maturity=maturity) for name in names}


TABLES: Final[dict[str, Table]] = dict(
    [
        _table(
            "operators",
            "operator",
            f"{_STAGES}.data.operators",
            **_built_in(f"{_STAGES}.data.operators", "unicode", source="UAX 15, UTS 39"),
            **_built_in(f"{_STAGES}.data.operators", "empty", "dedupe", "pii", "tool_subset"),
            **_built_in(f"{_STAGES}.data.operators", "near_dedupe", source="Broder 1997"),
            **_built_in(f"{_STAGES}.data.operators", "poison", source="Dunning 1993"),
            **_built_in(f"{_STAGES}.data.operators", "decontaminate", source="arXiv:2005.14165"),
        ),
        _table(
            "selectors",
            "selector",
            f"{_STAGES}.data.selectors",
            **_built_in(f"{_STAGES}.data.selectors", "random"),
            **_built_in(f"{_STAGES}.data.selectors", "deft_ucs", source="arXiv:2310.16776"),
        ),
        _table(
            "methods",
            "method",
            f"{_INSTRUMENTS}.engine.methods",
            **_built_in(f"{_INSTRUMENTS}.engine.methods", "full"),
            **_built_in(f"{_INSTRUMENTS}.engine.methods", "lora", source="arXiv:2106.09685"),
        ),
        _table(
            "runtimes",
            "runtime",
            f"{_INSTRUMENTS}.engine.runtimes",
            **_built_in(f"{_INSTRUMENTS}.engine.runtimes", "torch_batched"),
        ),
        _table(
            "objectives",
            "objective",
            f"{_STAGES}.train.objectives",
            **_built_in(f"{_STAGES}.train.objectives", "sft", source="arXiv:2203.02155"),
            **_built_in(f"{_STAGES}.train.objectives", "dpo", source="arXiv:2305.18290"),
        ),
        _table(
            "launchers",
            "launcher",
            f"{_STAGES}.train.launchers",
            **_built_in(f"{_STAGES}.train.launchers", "local"),
        ),
        _table("backends", "backend", f"{_STAGES}.train.backends"),
        _table(
            "metrics",
            "",
            f"{_INSTRUMENTS}.measure.metrics",
            **_built_in(f"{_INSTRUMENTS}.measure.metrics", "exact_match", "accuracy"),
            **_built_in(f"{_INSTRUMENTS}.measure.metrics", "macro_f1", source="van Rijsbergen 1979"),
            **_built_in(f"{_INSTRUMENTS}.measure.metrics", "recall", "precision", source="Cleverdon 1966"),
            **_built_in(f"{_INSTRUMENTS}.measure.metrics", "token_f1", source="arXiv:1606.05250"),
            **_built_in(f"{_INSTRUMENTS}.measure.metrics", "json_validity", source="RFC 8259"),
            **_built_in(f"{_INSTRUMENTS}.measure.metrics", "tool_call", source="Berkeley Function Calling Leaderboard"),
            **_built_in(f"{_INSTRUMENTS}.measure.metrics", "bits_per_byte", source="arXiv:2101.00027"),
            **_built_in(f"{_INSTRUMENTS}.measure.metrics", "pair_accuracy", source="arXiv:2305.18290"),
            **_built_in(f"{_INSTRUMENTS}.measure.metrics", "pair_likelihood", source="arXiv:2405.19534"),
        ),
        _table("graders", "", f"{_INSTRUMENTS}.measure.graders"),
        _table(
            "suites",
            "suite",
            f"{_STAGES}.evaluate.suites",
            **_built_in(f"{_STAGES}.evaluate.suites", "task"),
            **_built_in(f"{_STAGES}.evaluate.suites", "forgetting", source="arXiv:2405.09673"),
            **_built_in(f"{_STAGES}.evaluate.suites", "preference"),
        ),
        _table(
            "exporters",
            "exporter",
            f"{_STAGES}.deploy.exporters",
            **_built_in(f"{_STAGES}.deploy.exporters", "adapter", "merged"),
        ),
        _table("targets", "target", f"{_STAGES}.deploy.targets"),
        _table(
            "detectors",
            "detector",
            f"{_STAGES}.monitor.detectors",
            **_built_in(f"{_STAGES}.monitor.detectors", "rank", source="Mann and Whitney 1947"),
            **_built_in(f"{_STAGES}.monitor.detectors", "mmd", source="arXiv:0804.1026"),
        ),
    ]
)


def get_table(family: str) -> Table:
    """Return a family's table.

    Raises:
        RecipeError: E-REC-011 for a family that does not exist.
    """
    if family not in TABLES:
        raise RecipeError(
            "E-REC-011",
            f"there is no plug-in family {family!r}",
            got=family,
            allowed=", ".join(TABLES),
            fix=f"luthier list {_nearest(family, TABLES) or 'methods'}",
        )
    return TABLES[family]


@cache
def get_rows(family: str) -> Mapping[str, Row]:
    """Return all rows of a family: ours, then those of installed distributions.

    Raises:
        RecipeError: E-REC-012 when two distributions offer the same name, or a name is not lower case.
    """
    rows = dict(get_table(family).rows)
    for point in entry_points(group=f"luthier.{family}"):
        owner = point.dist.name if point.dist else "an unnamed distribution"
        taken = rows.get(point.name)
        if taken is not None or not point.name.islower() or not point.name.isidentifier():
            raise RecipeError(
                "E-REC-012",
                f"the plug-in name {point.name!r} of family {family} cannot be registered",
                got=f"{point.name} from {owner}" + (f", already taken by {taken.distribution}" if taken else ""),
                allowed="a lower-case name that no other distribution has",
                fix=f"pip uninstall {owner}",
            )
        rows[point.name] = Row(point.value, source=owner, maturity="preview", distribution=owner)
    return rows


def get_row(family: str, name: str) -> Row:
    """Return one plug-in's row.

    Raises:
        RecipeError: E-REC-011 for a name that the family does not have.
    """
    rows = get_rows(family)
    if name not in rows:
        nearest = _nearest(name, rows)
        raise RecipeError(
            "E-REC-011",
            f"there is no {family} plug-in named {name!r}" + (f"; nearest is {nearest!r}" if nearest else ""),
            got=name,
            allowed=", ".join(rows) or f"none: no {family} are built in this version",
            fix=f"luthier list {family}",
        )
    return rows[name]


def load_config(family: str, name: str) -> type[PluginConfig]:
    """Load a plug-in's config half: light, any room may.

    Raises:
        RecipeError: E-REC-011 for an unknown name, E-REC-016 when a third party's package fails.
        MissingExtra: E-ENV-001 when packages that it needs are not installed.
    """
    row = get_row(family, name)
    module = row.package if not get_table(family).runtime else f"{row.package}.config"
    config: type[PluginConfig] = _load(row, module, "Config")
    return config


def load_runtime(family: str, name: str) -> Any:  # noqa: ANN401  the family's own protocol
    """Load a plug-in's runtime half: only the family's home room and floors above it may.

    Returns:
        The object ``PLUGIN`` of the runtime module.

    Raises:
        RecipeError: E-REC-011 for an unknown name, E-REC-016 when a third party's package fails.
        MissingExtra: E-ENV-001 when packages that it needs are not installed.
    """
    row = get_row(family, name)
    runtime = get_table(family).runtime
    module = f"{row.package}.{runtime}" if runtime else row.package
    return _load(row, module, "PLUGIN")


def _load(row: Row, module: str, attribute: str) -> Any:  # noqa: ANN401  either half
    """Import one half; what a third party's package does wrong becomes an error that names its distribution."""
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing and not f"{module}.".startswith(f"{missing}."):
            raise MissingExtra(
                "E-ENV-001",
                f"{module} needs the package {missing}, which is not installed",
                got=f"no package {missing}",
                fix=f"pip install 'luthier[{row.extra}]'" if row.extra else f"pip install {missing}",
            ) from error
        if row.distribution == OURS:
            raise
        raise _complain(row, module, error) from error
    except Exception as error:  # plug-in discovery: a third party's package may raise anything
        if row.distribution == OURS:
            raise
        raise _complain(row, module, error) from error


def _complain(row: Row, module: str, error: Exception) -> RecipeError:
    return RecipeError(
        "E-REC-016",
        f"the plug-in package {module} of {row.distribution} cannot be loaded",
        got=f"{type(error).__name__}: {error}",
        allowed="a package whose config half has Config and whose runtime half has PLUGIN",
        fix=f"pip uninstall {row.distribution}",
    )


def iterate_families() -> Iterator[str]:
    """Yield every family's name."""
    yield from TABLES


def _nearest(name: str, names: Mapping[str, object]) -> str | None:
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return found[0] if found else None
