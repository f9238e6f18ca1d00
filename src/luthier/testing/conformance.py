"""One conformance suite for every plug-in: ``check_plugin("operators", "unicode")``.

A third party calls it from its own tests::

    from luthier.testing.conformance import check_plugin

    def test_my_operator_conforms() -> None:
        check_plugin("operators", "my_operator")

What holds for every family stands here; what a family's runtime half must do stands in a file of its own
(``operators.py``, ``metrics.py``) and is entered in ``FAMILY_CHECKS``.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from pydantic.errors import PydanticUserError

from luthier.foundation.core.errors import RecipeError
from luthier.foundation.registry import get_row, load_config, load_runtime
from luthier.foundation.schema import plugins
from luthier.foundation.schema.plugins import PluginConfig
from luthier.testing.metrics import find_metric_faults
from luthier.testing.operators import find_operator_faults
from luthier.testing.selectors import find_selector_faults
from luthier.testing.shapes import PROTOCOLS, find_shape_faults

HEAVY: Final = ("torch", "transformers", "peft", "accelerate", "trl", "datasets", "deepspeed")
LONGEST_SUMMARY: Final = 120
UNWRITTEN: Final = "To be written"  # what `make new` leaves to its author

FAMILY_BASES: Final[dict[str, type[PluginConfig]]] = {
    "operators": plugins.OperatorConfig,
    "selectors": plugins.SelectorConfig,
    "methods": plugins.MethodConfig,
    "runtimes": plugins.RuntimeConfig,
    "objectives": plugins.ObjectiveConfig,
    "launchers": plugins.LauncherConfig,
    "backends": plugins.BackendConfig,
    "metrics": plugins.MetricConfig,
    "graders": plugins.GraderConfig,
    "suites": plugins.SuiteConfig,
    "exporters": plugins.ExporterConfig,
    "targets": plugins.TargetConfig,
    "detectors": plugins.DetectorConfig,
}

FamilyCheck = Callable[[Any, type[PluginConfig]], Iterator[str]]
FAMILY_CHECKS: Final[dict[str, FamilyCheck]] = {
    "operators": find_operator_faults,
    "selectors": find_selector_faults,
    "metrics": find_metric_faults,
}


class NotConformantError(AssertionError):
    """A plug-in breaks the contract of its family. ``faults`` lists how, a sentence each."""

    def __init__(self, plugin: str, faults: list[str]) -> None:
        """Show all faults at once."""
        super().__init__(f"{plugin} does not conform:\n" + "\n".join(f"  - {fault}" for fault in faults))
        self.faults = faults


def check_plugin(family: str, name: str) -> None:
    """Check one plug-in against everything that its family promises.

    Args:
        family: Plural name, such as ``operators``.
        name: The plug-in's name in the registry.

    Raises:
        NotConformantError: With every fault found.
        RecipeError: E-REC-011 for a family or name that does not exist.
    """
    faults = find_faults(family, name)
    heavy = find_heavy_imports([(family, name)]).get(f"{family}.{name}", [])
    faults += [f"the config half imports {module}; it may be loaded by any room" for module in heavy]
    if faults:
        raise NotConformantError(f"{family} {name}", faults)


def find_faults(family: str, name: str) -> list[str]:
    """Return what is wrong with a plug-in's two halves, in this process; an empty list is a pass."""
    get_row(family, name)
    try:
        config, runtime = load_config(family, name), load_runtime(family, name)
    except (ImportError, AttributeError, RecipeError) as error:
        return [f"it cannot be loaded: {error}"]
    faults = list(find_config_faults(family, config))
    faults += find_shape_faults(runtime, PROTOCOLS.get(family))
    if not faults and family in FAMILY_CHECKS:
        faults += FAMILY_CHECKS[family](runtime, config)
    return faults


def find_config_faults(family: str, config: Any) -> Iterator[str]:  # noqa: ANN401  judged here
    """Yield what is wrong with a config half."""
    base = FAMILY_BASES[family]
    if not (isinstance(config, type) and issubclass(config, base)):
        yield f"Config must derive from {base.__name__}"
        return
    if config.model_config.get("frozen") is not True:
        yield "Config must be frozen"
    if config.model_config.get("extra") != "forbid":
        yield "Config must refuse options that it does not know (extra='forbid')"
    version, source = vars(config).get("VERSION", base.VERSION), vars(config).get("SOURCE", base.SOURCE)
    if not isinstance(version, int) or version < 1:
        yield "VERSION must be a whole number from 1"
    if not isinstance(source, str) or not source.strip():
        yield "SOURCE must name the paper or standard, or 'ours'"
    yield from _find_summary_faults(config)
    yield from _find_schema_faults(config)


def _find_summary_faults(config: type[PluginConfig]) -> Iterator[str]:
    summary = (inspect.cleandoc(config.__dict__.get("__doc__") or "")).split("\n")[0]
    if summary.startswith(UNWRITTEN):
        yield f"Config's docstring still says {UNWRITTEN!r}: say in one sentence what it does"
    elif not summary.endswith((".", "?")):
        yield "Config needs a docstring whose first line is one sentence: `luthier list` shows it"
    elif len(summary) > LONGEST_SUMMARY:
        yield f"the docstring's first line has {len(summary)} characters; {LONGEST_SUMMARY} fit `luthier list`"


def _find_schema_faults(config: type[PluginConfig]) -> Iterator[str]:
    try:
        schema = config.model_json_schema()
        json.dumps(schema, allow_nan=False)
    except (PydanticUserError, ValueError, TypeError) as error:
        yield f"Config has no JSON Schema: {error}"
        return
    if any(field.is_required() for field in config.model_fields.values()):
        return
    default = config()
    if config.model_validate_json(default.model_dump_json()) != default:
        yield "its defaults do not come back from JSON as they were"


_PROBE: Final = """
import contextlib, json, sys
from luthier.foundation.registry import load_config
found, heavy = {}, set(sys.argv[1].split(","))
for pair in sys.argv[2:]:
    before = set(sys.modules) & heavy
    with contextlib.suppress(ImportError, AttributeError, ValueError):  # find_faults says it
        load_config(*pair.split("."))
    found[pair] = sorted((set(sys.modules) & heavy) - before)
print(json.dumps(found))
"""


def find_heavy_imports(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Load config halves in a fresh process and report which tensor packages came with them.

    Args:
        pairs: Family and name of each plug-in. In one process only the first to import a package is blamed.

    Returns:
        For each ``family.name`` the heavy packages that it brought in; empty lists where all is well.
    """
    names = [f"{family}.{name}" for family, name in pairs]
    done = subprocess.run(  # noqa: S603  our own interpreter and our own text
        [sys.executable, "-c", _PROBE, ",".join(HEAVY), *names], capture_output=True, text=True, check=True
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found
