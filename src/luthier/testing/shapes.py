"""The shape of each family's runtime half: the protocol of its home room, compared by names of parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Final

from luthier.instruments.engine.method_protocol import Method
from luthier.instruments.measure.metric import Metric
from luthier.stages.data.outcomes import Operator
from luthier.stages.data.ranking import Selector
from luthier.stages.deploy.exporter import Exporter
from luthier.stages.evaluate.suite import Suite
from luthier.stages.monitor.detector import Detector
from luthier.stages.train.job import Launcher, Objective

PROTOCOLS: Final[dict[str, type]] = {
    "operators": Operator,
    "selectors": Selector,
    "methods": Method,
    "metrics": Metric,
    "objectives": Objective,
    "launchers": Launcher,
    "suites": Suite,
    "exporters": Exporter,
    "detectors": Detector,
}


def find_shape_faults(runtime: Any, protocol: type | None) -> Iterator[str]:  # noqa: ANN401  any family's object
    """Yield what a runtime half lacks of its family's protocol.

    Args:
        runtime: The object ``PLUGIN``.
        protocol: The family's protocol; None where its home room declares none.
    """
    if isinstance(runtime, type):
        yield "PLUGIN must be an object, not a class"
        return
    if protocol is None:
        return
    for name in protocol.__annotations__:
        if not hasattr(runtime, name):
            yield f"PLUGIN lacks the attribute {name}"
    for name, wanted in vars(protocol).items():
        if not name.startswith("_") and inspect.isfunction(wanted):
            yield from _find_method_faults(name, getattr(runtime, name, None), wanted)


def _find_method_faults(name: str, method: Any, wanted: Callable[..., Any]) -> Iterator[str]:  # noqa: ANN401  judged here
    """Yield how a method differs from its protocol's, by names of parameters."""
    if not callable(method):
        yield f"PLUGIN lacks the method {name}"
        return
    if "NotImplementedError" in getattr(getattr(method, "__code__", None), "co_names", ()):
        yield f"PLUGIN.{name} is not written yet: it raises NotImplementedError"
    expected = list(inspect.signature(wanted).parameters)[1:]
    given = inspect.signature(method).parameters
    missing = [parameter for parameter in expected if parameter not in given]
    if missing:
        yield f"PLUGIN.{name} does not take {', '.join(missing)}"
    surplus = [
        parameter.name
        for parameter in given.values()
        if parameter.name not in expected
        and parameter.default is parameter.empty
        and parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
    ]
    if surplus:
        yield f"PLUGIN.{name} demands {', '.join(surplus)}, which nobody gives it"
