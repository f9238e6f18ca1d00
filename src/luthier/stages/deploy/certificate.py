"""The parity certificate: is what will be served what was trained? Read :func:`certify` first.

The live model scored the probes before training ended. Each step computes the same in another way, from the bundle's
own files, and is compared with those scores: the rendered text, the adapter put on its base anew, the merged model,
every further export, and a server in a process of its own over HTTP. The first step beyond its contract ends it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from luthier.foundation import registry
from luthier.foundation.core.errors import LuthierError, PolicyDenied
from luthier.foundation.core.progress import Progress
from luthier.foundation.schema.release import Certificate, CertificateStep, MeasuredStep
from luthier.instruments.engine.allocation import hand_back_freed_memory
from luthier.instruments.engine.load import LoadedModel
from luthier.instruments.engine.score import ProbeScores, score_probes
from luthier.instruments.text.tokens import load_tokenizer
from luthier.stages.deploy.comparison import FP32_CONTRACT, Comparison, Contract, compare_scores
from luthier.stages.deploy.exporter import Exporter, Trained, load_tuned, merge
from luthier.stages.deploy.probes import LiveProbe, find_rendering_breach
from luthier.stages.deploy.served import AskServer, compare_served, find_served_breach, pick_prompts

RENDERED: Final = "rendered"
ADAPTER: Final = "adapter"
MERGED: Final = "merged"
SERVER: Final = "server"
RENDERED_CONTRACT: Final = "every probe gets the token ids that training gave it, by the bundle's own tokenizer files"
SERVER_CONTRACT: Final = (
    "a server in a process of its own makes the same token ids of every prompt; its greedy answers, scored again by "
    f"the merged model: {FP32_CONTRACT}"
)
NOISE_PROBES: Final = 16
"""Probes that are also computed one at a time, to say how far two sound ways of computing lie apart."""


@dataclass(frozen=True)
class Subject:
    """What is certified.

    Attributes:
        trained: What training left and the base.
        exports: Folder of each export by name.
        probes: The live model's scores.
        probes_digest: Digest of the probe rows.
        num_asked: Probes that the recipe asked for.
        pack_tokens: Tokens computed at once.
    """

    trained: Trained
    exports: Mapping[str, Path]
    probes: Sequence[LiveProbe]
    probes_digest: str
    num_asked: int
    pack_tokens: int


@dataclass(frozen=True)
class Certified:
    """A certificate with what was measured for it.

    Attributes:
        noise_floor: Greatest difference of packed against single computation of the merged model, nats.
    """

    certificate: Certificate
    measured: tuple[MeasuredStep, ...]
    noise_floor: float

    def require(self) -> None:
        """Refuse a release beyond its contract.

        Raises:
            PolicyDenied: E-DEP-001 with the step that broke it.
        """
        if self.certificate.verdict == "PASS":
            return
        broken = self.certificate.steps[-1]
        raise PolicyDenied(
            "E-DEP-001",
            f"what would be served is not what was trained: the step {broken.step!r} is beyond its contract",
            got=broken.reason,
            origin=f"step {broken.step} of the parity certificate",
            allowed=broken.contract,
            fix="make the release again from its run: luthier run RECIPE",
            field=broken.step,
        )


class _Checked(NamedTuple):
    """One step as it went."""

    contract: str
    num_probes: int
    num_tokens: int
    reason: str = ""
    measured: MeasuredStep | None = None


def certify(subject: Subject, *, ask_server: AskServer, progress: Progress) -> Certified:
    """Compare every form of the model with the live one, step by step, until one is beyond its contract.

    Args:
        subject: What is certified.
        ask_server: Asks a server of its own about prompts; see ``served.py``.
        progress: Told which step is at work.
    """
    bench = _Bench(subject, ask_server)
    steps: list[CertificateStep] = []
    measured: list[MeasuredStep] = []
    planned = list(bench.list_steps())
    with progress.task("certify", total=len(planned), unit="steps") as task:
        for name, check in planned:
            progress.say(f"parity: {name}")
            checked = _guard(check)
            gc.collect()  # a step's model is held by cycles of its own
            steps.append(
                CertificateStep(
                    step=name,
                    contract=checked.contract,
                    is_within=not checked.reason,
                    num_probes=checked.num_probes,
                    num_tokens=checked.num_tokens,
                    reason=checked.reason,
                )
            )
            if checked.measured is not None:
                measured.append(checked.measured.model_copy(update={"step": name}))
            task.advance()
            if checked.reason:
                break
    broken = steps[-1].step if not steps[-1].is_within else ""
    certificate = Certificate(
        verdict="FAIL" if broken else "PASS",
        broken_step=broken,
        num_asked=subject.num_asked,
        num_probes=len(subject.probes),
        probes=subject.probes_digest,
        steps=tuple(steps),
    )
    return Certified(certificate, tuple(measured), bench.noise_floor)


def _guard(check: Callable[[], _Checked]) -> _Checked:
    """Take what cannot be loaded or asked at all as beyond the contract."""
    try:
        return check()
    except LuthierError as error:
        problem = error.problems[0]
        got = f" ({problem.got})" if problem.got else ""
        return _Checked("it can be computed at all", 0, 0, f"{problem.code}: {problem.what}{got}")


@dataclass
class _Bench:
    """The steps of one certificate, one model in memory at a time."""

    subject: Subject
    ask_server: AskServer
    noise_floor: float = 0.0

    def list_steps(self) -> Iterator[tuple[str, Callable[[], _Checked]]]:
        """Yield each step's name and what checks it, in order."""
        yield RENDERED, self._check_rendered
        if self.subject.trained.has_adapter:
            yield ADAPTER, self._check_adapter
        yield MERGED, self._check_merged
        for name in self.subject.exports:
            if name not in {ADAPTER, MERGED}:
                yield name, partial(self._check_export, name)
        yield SERVER, self._check_server

    def _check_rendered(self) -> _Checked:
        probes = self.subject.probes
        num_tokens = sum(len(probe.token_ids_T) for probe in probes)
        for name, folder in self.subject.exports.items():
            breach = find_rendering_breach(probes, load_tokenizer(folder))
            if breach:
                return _Checked(RENDERED_CONTRACT, len(probes), num_tokens, f"by the export {name}, {breach}")
        return _Checked(RENDERED_CONTRACT, len(probes), num_tokens)

    def _check_adapter(self) -> _Checked:
        """Put the bundle's adapter on its base anew; the run's own where the bundle exports none."""
        folder = self.subject.exports.get(ADAPTER, self.subject.trained.folder)
        return self._compare(self._score(load_tuned(self.subject.trained, folder)), FP32_CONTRACT)

    def _check_merged(self) -> _Checked:
        loaded = self._load_merged()
        scores = self._score(loaded)
        self.noise_floor = measure_noise(loaded, self.subject.probes, scores)
        return self._compare(scores, FP32_CONTRACT)

    def _check_export(self, name: str) -> _Checked:
        exporter = _find_exporter(name)
        loaded = exporter.load(self.subject.trained, self.subject.exports[name])
        return self._compare(self._score(loaded), exporter.contract)

    def _check_server(self) -> _Checked:
        """Ask a server that serves the bundle as a release is served: the adapter where there is one."""
        exports, trained = self.subject.exports, self.subject.trained
        tokenizer = load_tokenizer(trained.base_folder, chat_template=trained.chat_template)
        prompts = pick_prompts(self.subject.probes, tokenizer)
        hand_back_freed_memory()  # the server holds a model of its own beside ours
        answers = self.ask_server(exports.get(ADAPTER) or next(iter(exports.values())), prompts)
        num_tokens = sum(len(prompt.ids_T) for prompt in prompts)
        breach = find_served_breach(prompts, answers)
        if breach:
            return _Checked(SERVER_CONTRACT, len(prompts), num_tokens, breach)
        found = compare_served(prompts, answers, self._load_merged(), pack_tokens=self.subject.pack_tokens)
        return _Checked(
            SERVER_CONTRACT, len(prompts), num_tokens, found.find_breach(FP32_CONTRACT), _to_measured(found)
        )

    def _load_merged(self) -> LoadedModel:
        """Load the bundle's merged model; merge in memory where the bundle exports none."""
        trained = self.subject.trained
        if MERGED in self.subject.exports:
            return _find_exporter(MERGED).load(trained, self.subject.exports[MERGED])
        loaded = load_tuned(trained, self.subject.exports.get(ADAPTER, trained.folder))
        merge(loaded, trained.method)
        return loaded

    def _score(self, loaded: LoadedModel) -> list[ProbeScores]:
        rows = [probe.encode() for probe in self.subject.probes]
        return score_probes(loaded, rows, pack_tokens=self.subject.pack_tokens)

    def _compare(self, scores: Sequence[ProbeScores], contract: Contract) -> _Checked:
        probes = self.subject.probes
        names = [probe.row.id for probe in probes]
        found = compare_scores(probes, scores, names=names, contract=contract)
        return _Checked(
            str(contract), found.num_rows, found.num_tokens, found.find_breach(contract), _to_measured(found)
        )


def _to_measured(found: Comparison) -> MeasuredStep:
    return MeasuredStep(
        step="",
        num_tokens=found.num_tokens,
        max_delta=found.max_delta,
        mean_delta=found.mean_delta,
        top1_agreement=found.top1_agreement,
        num_decided=found.num_decided,
    )


def _find_exporter(name: str) -> Exporter:
    exporter: Exporter = registry.load_runtime("exporters", name)
    return exporter


def measure_noise(loaded: LoadedModel, probes: Sequence[LiveProbe], packed: Sequence[ProbeScores]) -> float:
    """Return how far two sound ways of computing one model lie apart, at most, over some of the probes.

    One way is packs with shared beginnings, as in training; the other is one row at a time with the attention that
    transformers ships.

    Args:
        loaded: The model.
        probes: All probes.
        packed: The model's scores of them, in order, computed in packs.

    Units:
        Nats.
    """
    step = max(1, len(probes) // NOISE_PROBES)
    spread = slice(0, step * NOISE_PROBES, step)
    rows = [probe.encode() for probe in probes[spread]]
    with loaded.plain_attention():
        single = score_probes(replace(loaded, can_pack=False, can_trim=False), rows, pack_tokens=1)
    return compare_scores(packed[spread], single, names=[row.id for row in rows]).max_delta
