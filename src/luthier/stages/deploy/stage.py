"""Stage 6: what was trained and passed its gates in; a folder that may be served, with the proof, out.

Read :func:`run` first: export, certify, gather the papers, seal.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from luthier.foundation import registry
from luthier.foundation.core.errors import RecipeError
from luthier.foundation.core.files import write_atomic
from luthier.foundation.schema.protocols import AnyRecord, Context
from luthier.foundation.schema.release import Release
from luthier.foundation.schema.sections import DeploySection, GovernSection, MonitorSection, PlanSection, PluginChoice
from luthier.stages.deploy.bundle import Given, make_release, write_papers
from luthier.stages.deploy.certificate import Certified, Subject, certify
from luthier.stages.deploy.declaration import NEEDS as NEEDS
from luthier.stages.deploy.declaration import READS as READS
from luthier.stages.deploy.declaration import VERSION as VERSION
from luthier.stages.deploy.declaration import fingerprint as fingerprint
from luthier.stages.deploy.declaration import refresh as refresh
from luthier.stages.deploy.exporter import Exporter, Trained, check_base, lay_out_trained
from luthier.stages.deploy.layout import RECIPE_NAME, to_bytes
from luthier.stages.deploy.probes import read_live_probes
from luthier.stages.deploy.seal import Making, put_in_place
from luthier.stages.deploy.server_process import ServerProcess

INPUTS: Final = ("data", "model", "plan", "train", "evaluate")


def run(section: DeploySection, inputs: Mapping[str, AnyRecord], ctx: Context) -> Release:
    """Export, certify and seal a release.

    Args:
        section: Which exports.
        inputs: ``data``, ``model``, ``plan``, ``train`` and ``evaluate``.
        ctx: What lifecycle hands over.

    Raises:
        PolicyDenied: E-DEP-001 when a form of the model does not say what the live one said.
        DeployError: E-DEP-002 when the base is not the recorded one, E-DEP-003 when the server does not start.
        RecipeError: E-DEP-012 when no export can be made.
    """
    started = ctx.clock.monotonic()
    model, plan, train, planned = inputs["model"], inputs["plan"], inputs["train"], ctx.section("plan")
    if not isinstance(planned, PlanSection):
        raise TypeError(type(planned))
    trained = lay_out_trained(model, train, ctx.folder / "trained", ctx.blobs)
    check_base(trained)
    staging = ctx.folder / "bundle"
    shutil.rmtree(staging, ignore_errors=True)
    exports = write_exports(section.exports, trained, staging, ctx)
    subject = Subject(
        trained=trained,
        exports=exports,
        probes=read_live_probes(plan, train, ctx.blobs),
        probes_digest=plan.identity.probes,
        num_asked=planned.probes,
        pack_tokens=plan.identity.pack_tokens,
    )
    certified = certify(subject, ask_server=ServerProcess(ctx.folder), progress=ctx.progress)
    keep_evidence(certified, ctx)
    shutil.rmtree(trained.folder)
    certified.require()
    given = gather(inputs, ctx)
    write_papers(staging, given, certified, tuple(exports), fs=ctx.fs)
    release = make_release(staging, given, certified, tuple(exports))
    making = Making(
        given,
        certified,
        created=ctx.clock.now().isoformat(timespec="seconds"),
        audit_head=ctx.audit_head,
        seconds=ctx.clock.monotonic() - started,
    )
    return put_in_place(release, staging, making, ctx)


def write_exports(choices: tuple[PluginChoice, ...], trained: Trained, staging: Path, ctx: Context) -> dict[str, Path]:
    """Write every export that this run can have, each into a folder of its name; say which it cannot.

    Raises:
        RecipeError: E-DEP-012 when none is left.
    """
    exports: dict[str, Path] = {}
    obstacles = []
    for choice in choices:
        exporter: Exporter = registry.load_runtime("exporters", choice.type)
        obstacle = exporter.find_obstacle(trained)
        if obstacle:
            obstacles.append(f"{choice.type}: {obstacle}")
            ctx.progress.say(f"no export {choice.type}: {obstacle}")
            continue
        folder = staging / choice.type
        folder.mkdir(parents=True)
        config = registry.load_config("exporters", choice.type).model_validate(choice.options)
        exporter.write(trained, folder, config=config)
        exports[choice.type] = folder
    if not exports:
        raise RecipeError(
            "E-DEP-012",
            "no export of deploy.exports can be made of this run",
            got="; ".join(obstacles) or "no exports",
            allowed="adapter and merged; merged alone for method full",
            fix="--set deploy.exports=[merged]",
            field="deploy.exports",
        )
    return exports


def keep_evidence(certified: Certified, ctx: Context) -> None:
    """Keep certificate and measurements in the stage's folder, also when they end in a refusal."""
    found = {
        "certificate": certified.certificate.model_dump(mode="json"),
        "measured": [step.model_dump(mode="json") for step in certified.measured],
        "noise_floor": certified.noise_floor,
    }
    write_atomic(ctx.folder / "parity.json", to_bytes(found), fs=ctx.fs)


def gather(inputs: Mapping[str, AnyRecord], ctx: Context) -> Given:
    """Have monitor make the reference, and put together what the papers are written from."""
    asked = {name: inputs[name] for name in ("data", "model", "evaluate")}
    reference = ctx.call("monitor", MonitorSection(mode="reference"), asked)
    govern = ctx.section("govern")
    if not isinstance(govern, GovernSection):
        raise TypeError(type(govern))
    return Given(
        name=ctx.recipe_name,
        govern=govern,
        data=inputs["data"],
        model=inputs["model"],
        plan=inputs["plan"],
        run=inputs["train"],
        report=inputs["evaluate"],
        approvals=ctx.approvals(inputs["evaluate"].digest),
        parents={**{name: inputs[name].digest for name in INPUTS}, "call1.monitor": reference.digest},
        reference=ctx.blobs.get(reference.identity.reference),
        recipe=ctx.workspace_folder / "runs" / inputs["train"].witness.run_id / RECIPE_NAME,
    )
