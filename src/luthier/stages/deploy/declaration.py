"""What lifecycle knows of stage 6 without torch; see ``foundation.schema.protocols.StageDeclaration``."""

from __future__ import annotations

from typing import Any, Final

from luthier.foundation.schema.protocols import Context
from luthier.foundation.schema.release import Release
from luthier.foundation.schema.sections import DeploySection
from luthier.stages.deploy.verify import find_faults

VERSION: Final = 1
READS: Final = ("plan", "govern")
NEEDS: Final = ("monitor",)


def fingerprint(section: DeploySection, ctx: Context) -> dict[str, Any]:  # noqa: ARG001  one shape of all stages
    """Add the recipe's name to the key: it is the release's."""
    return {"name": ctx.recipe_name}


def refresh(record: Release, section: DeploySection, ctx: Context) -> Release | None:  # noqa: ARG001  stage shape
    """Return a reused release as it lies; None where its folder is gone or changed, so that it is made again."""
    folder = ctx.workspace_folder / "releases" / record.digest
    faults = find_faults(folder, record.digest)
    if not faults:
        return record.model_copy(update={"witness": record.witness.model_copy(update={"folder": str(folder)})})
    ctx.progress.say(f"release {record.digest[:12]} is made again: {faults[0].what}")
    return None
