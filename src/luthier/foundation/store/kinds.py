"""Which record classes there are, and how records of older schema versions are brought up to date.

To change a record: raise its ``SCHEMA_VERSION``, add an upgrade of the old version's ``(identity, witness)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.monitoring import MonitorReference
from luthier.foundation.schema.noun import Record
from luthier.foundation.schema.plan import Plan
from luthier.foundation.schema.release import Release
from luthier.foundation.schema.report import Report
from luthier.foundation.schema.run import Run

Parts = tuple[dict[str, Any], dict[str, Any]]
Upgrade = Callable[[dict[str, Any], dict[str, Any]], Parts]


@dataclass(frozen=True)
class Kind:
    """One record class with the upgrades of its older schema versions, keyed by the version they start from."""

    record_class: type[Record[Any, Any]]
    upgrades: Mapping[int, Upgrade] = field(default_factory=dict)


KINDS: Final[dict[str, Kind]] = {
    record_class.KIND: Kind(record_class)
    for record_class in (DatasetVersion, ModelChoice, Plan, Run, Report, Release, MonitorReference)
}
