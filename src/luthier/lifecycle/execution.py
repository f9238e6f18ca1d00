"""One stage, once: find its record, or wait for who is at it, or run it and store what it made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from luthier.foundation.core.errors import StageFailed, StoreError
from luthier.foundation.core.progress import Progress
from luthier.foundation.recipe.resolve import ResolvedRecipe
from luthier.foundation.schema.approval import Approval
from luthier.foundation.schema.noun import Noun, Record
from luthier.foundation.schema.protocols import AnyRecord, StageDeclaration, Waiting
from luthier.foundation.store.executions import State
from luthier.foundation.store.locks import Holder, Lock
from luthier.foundation.store.workspace import Workspace
from luthier.lifecycle.approval import STARTED
from luthier.lifecycle.boundary import CallWaits, guard_stage
from luthier.lifecycle.cache import ConfigLoader, KeyParts, apply_fingerprint, compute_cache_key
from luthier.lifecycle.context import StageContext
from luthier.lifecycle.evidence import describe
from luthier.lifecycle.papers import write_papers
from luthier.lifecycle.result import StageResult
from luthier.lifecycle.stages_table import StageSpec, find_stage

KEY_DIGITS: Final = 12
RUNS: Final = "runs"
BLOB_CODES: Final = frozenset({"E-STO-002", "E-STO-003"})


@dataclass(frozen=True)
class Corridor:
    """What all executions of one corridor share."""

    resolved: ResolvedRecipe
    workspace: Workspace
    progress: Progress
    stages: Sequence[StageSpec]
    load_config: ConfigLoader
    author: str


class Made(NamedTuple):
    """A record, its name in the store, and whether it was there."""

    record: AnyRecord
    digest: str
    reused: bool


Outcome = Made | Waiting


@dataclass
class Execution:
    """One stage with its section and inputs.

    Attributes:
        inputs: Records by stage name.
        digests: The inputs' names in the store.
        approved: Approvals by the digest of the record that the door before this stage looked at.
        stack: Keys of the executions that called this one, outermost first.
        key: The cache key, once it is known.
        called: Records that this one called for, by the name they get as parents.
    """

    corridor: Corridor
    spec: StageSpec
    section: Noun
    inputs: Mapping[str, AnyRecord]
    digests: Mapping[str, str]
    approved: Mapping[str, tuple[Approval, ...]] = field(default_factory=dict)
    stack: tuple[str, ...] = ()
    key: str = ""
    called: dict[str, str] = field(default_factory=dict)

    def run(self) -> StageResult | Waiting:
        """Return the stage's outcome, made now or found.

        Raises:
            LuthierError: Whatever the stage raises, or E-LIF-003 for what it does not know.
        """
        workspace, spec = self.corridor.workspace, self.spec
        began = workspace.clock.monotonic()
        place = workspace.folder / "work" / spec.name
        with guard_stage(spec, folder=place, fs=workspace.fs, note=lambda *_: None):
            module = spec.declare()
            context = self._make_context(spec, module)
            self.key = self._compute_key(module, context)
            outcome: Outcome | None = self._find(module, context)
        while outcome is None:
            outcome = self._wait_or_make(module, context)
        if isinstance(outcome, Waiting):
            return outcome
        return StageResult(
            stage=spec.name,
            reused=outcome.reused,
            seconds=workspace.clock.monotonic() - began,
            digest=outcome.digest,
            evidence=describe(outcome.record),
            record=outcome.record,
            cache_key=self.key,
        )

    def find_key(self) -> str:
        """Return the key without looking anything up; the stages before it are there."""
        module = self.spec.declare()
        return self._compute_key(module, self._make_context(self.spec, module))

    def _make_context(self, spec: StageSpec, module: StageDeclaration) -> StageContext:
        return StageContext(
            stage=spec.name,
            workspace=self.corridor.workspace,
            progress=self.corridor.progress,
            recipe=self.corridor.resolved.recipe,
            base_folder=self.corridor.resolved.base_folder,
            reads=tuple(getattr(module, "READS", ())),
            needs=tuple(getattr(module, "NEEDS", ())),
            caller=self._call,
            approved=self.approved if spec is self.spec else {},
        )

    def _compute_key(self, module: StageDeclaration, context: StageContext) -> str:
        sections = {name: self._fingerprint(name, context.section(name)) for name in context.reads}
        sections[self.spec.name] = self._fingerprint(self.spec.name, self.section)
        approvals = [
            approval.model_dump(mode="json", exclude={"time"}) for given in self.approved.values() for approval in given
        ]
        parts = KeyParts(
            self.spec.name,
            module.VERSION,
            sections,
            self.digests,
            context.seed,
            approvals=approvals if self.spec.gated_by else None,
        )
        return compute_cache_key(parts, load=self.corridor.load_config)

    def _fingerprint(self, name: str, section: Noun) -> dict[str, Any]:
        """Let the stage whose section it is replace its paths, whoever reads it; later stages are never loaded."""
        known = [spec.name for spec in self.corridor.stages]
        if name not in known or known.index(name) > known.index(self.spec.name):
            return apply_fingerprint(section, {})
        owner = self.corridor.stages[known.index(name)]
        module = owner.declare()
        replace_paths = getattr(module, "fingerprint", None)
        replaced = replace_paths(section, self._make_context(owner, module)) if replace_paths else {}
        return apply_fingerprint(section, replaced)

    def _find(self, module: StageDeclaration, context: StageContext) -> Made | None:
        """Return the record that the key made before, with a witness that is true today."""
        workspace = self.corridor.workspace
        execution = workspace.executions.get(self.key)
        if execution is None or execution.state != "done" or execution.record is None:
            return None
        record = workspace.records.get(execution.record)
        refresh = getattr(module, "refresh", None)
        if refresh is not None:
            refreshed = refresh(record, self.section, context)
            if refreshed is None:  # what the record names is gone
                workspace.executions.distrust([execution.record])
                return None
            fresh = self._check(refreshed, same_as=record)
            if fresh != record and record.digest == execution.record:
                workspace.records.put(fresh, stage=self.spec.name, cache_key=self.key)
            record = fresh
        return Made(record, execution.record, reused=True)

    def _is_done(self) -> bool:
        execution = self.corridor.workspace.executions.get(self.key)
        return execution is not None and execution.state == "done"

    def _wait_or_make(self, module: StageDeclaration, context: StageContext) -> Outcome | None:
        """Return None where another process was done and its record is gone already: then look again."""
        workspace, spec = self.corridor.workspace, self.spec
        self._refuse_recursion()
        folder = workspace.folder / spec.folder / self.key[:KEY_DIGITS]
        with (
            workspace.locks.hold(
                self.key, is_settled=self._is_done, on_wait=self._say_waiting, on_takeover=self._say_takeover
            ) as lock,
            self._guarded(folder, lock),
        ):
            found = self._find(module, context)
            if found is not None or lock is None:
                return found
            return self._make(replace(context, cache_key=self.key, own_folder=folder), lock)

    def _make(self, context: StageContext, lock: Lock) -> Outcome:
        workspace, spec = self.corridor.workspace, self.spec
        workspace.executions.start(self.key, spec.name)
        context.audit(STARTED, inputs=dict(self.digests), author=self.corridor.author)
        if spec.folder == RUNS:
            write_papers(context.folder, self.corridor.resolved, fs=workspace.fs)
        try:
            outcome = spec.load().run(self.section, self.inputs, context)
        except CallWaits as call:
            outcome = call.waiting
        if isinstance(outcome, Waiting):
            workspace.executions.stop(self.key, "waiting", outcome.model_dump(mode="json"))
            context.audit("stage.waiting", reason=outcome.reason, detail=outcome.detail)
            return outcome
        record = self._add_parents(self._check(outcome))
        lock.check()
        digest = workspace.records.put(record, stage=spec.name, cache_key=self.key)
        workspace.executions.finish(self.key, record)
        context.audit("stage.done", record=digest)
        return Made(record, digest, reused=False)

    def _call(self, stage: str, section: Noun, inputs: Mapping[str, AnyRecord]) -> AnyRecord:
        """Serve ``ctx.call``: an execution of its own, whose record becomes a parent."""
        spec = find_stage(stage, self.corridor.stages)
        digests = {name: record.digest for name, record in inputs.items()}
        outcome = Execution(self.corridor, spec, section, inputs, digests, stack=(*self.stack, self.key)).run()
        if isinstance(outcome, Waiting):
            raise CallWaits(outcome)
        self.called[f"call{len(self.called) + 1}.{stage}"] = outcome.digest
        return outcome.record

    def _add_parents(self, record: AnyRecord) -> AnyRecord:
        parents = {**record.identity.parents, **self.digests, **self.called}
        return record.model_copy(update={"identity": record.identity.model_copy(update={"parents": parents})})

    def _check(self, outcome: AnyRecord, *, same_as: AnyRecord | None = None) -> AnyRecord:
        expected = self.spec.record_class or Record
        is_changed = same_as is not None and isinstance(outcome, expected) and outcome.digest != same_as.digest
        if isinstance(outcome, expected) and not is_changed:
            return outcome
        raise StageFailed(
            "E-LIF-006",
            f"the stage {self.spec.name} " + ("changed a record's identity" if is_changed else "returned no record"),
            got=type(outcome).__name__,
            allowed="a record whose identity is as stored" if is_changed else f"{expected.__name__} or Waiting",
            fix=f"mend luthier.stages.{self.spec.name}.stage",
        )

    def _refuse_recursion(self) -> None:
        if self.key in self.stack:
            raise StageFailed(
                "E-LIF-004",
                f"the stage {self.spec.name} was called by itself with the same section and inputs",
                got=" > ".join(key[:KEY_DIGITS] for key in (*self.stack, self.key)),
                allowed="calls that end",
                fix="change the section or the inputs of the call",
            )

    @contextmanager
    def _guarded(self, folder: Path, lock: Lock | None) -> Iterator[None]:
        """Guard the stage; a lost or damaged blob makes what it came from run anew next time."""
        workspace = self.corridor.workspace

        def note(state: State, facts: dict[str, Any]) -> None:
            if lock is not None and lock.is_held():  # else the execution is another process's to speak of
                workspace.executions.stop(self.key, state, facts)
            workspace.audit.append(f"stage.{state}", {"stage": self.spec.name, "cache_key": self.key, **facts})

        try:
            with guard_stage(self.spec, folder=folder, fs=workspace.fs, note=note):
                yield
        except StoreError as error:
            for problem in error.problems:
                if problem.code in BLOB_CODES and problem.field:
                    workspace.distrust_blob(problem.field)
            raise

    def _say_waiting(self, holder: Holder) -> None:
        self.corridor.progress.say(
            f"process {holder.pid} is running the stage {self.spec.name} with the same inputs; waiting for its result"
        )

    def _say_takeover(self, holder: Holder) -> None:
        self.corridor.progress.say(
            f"process {holder.pid}, which ran the stage {self.spec.name}, is gone; going on from what it saved"
        )
