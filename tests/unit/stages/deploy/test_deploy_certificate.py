"""The parity certificate: what is whole passes, and every way of breaking a bundle is named by its step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from luthier.foundation.core.errors import DeployError, PolicyDenied, StoreError
from luthier.foundation.core.progress import SilentProgress
from luthier.foundation.registry import load_runtime
from luthier.instruments.engine.load import load_model
from luthier.instruments.remote.clients.openai_compatible import ServedAnswer
from luthier.stages.deploy.certificate import Certified, certify
from tests.fixtures.in_process_server import InProcessServer
from tests.fixtures.release_parts import ReleaseParts, make_release_parts, on_other_base
from tests.fixtures.release_sabotage import RELEASE_SABOTAGE
from tests.fixtures.tiny_models import build_tiny

EXPORTS = ("adapter", "merged")
Spoil = Callable[[ServedAnswer], ServedAnswer]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ReleaseParts:
    return make_release_parts(tmp_path_factory.mktemp("release"))


@pytest.fixture
def bundle(parts: ReleaseParts, tmp_path: Path) -> tuple[ReleaseParts, dict[str, Path]]:
    """A fresh bundle of the same parts."""
    fresh = replace(parts, root=tmp_path)
    return fresh, fresh.export(*EXPORTS)


def run(parts: ReleaseParts, exports: dict[str, Path], spoil: Spoil = lambda answer: answer) -> Certified:
    return certify(parts.subject(exports), ask_server=InProcessServer(parts.trained, spoil), progress=SilentProgress())


def test_what_was_trained_passes_every_step_in_order(bundle) -> None:
    found = run(*bundle)

    assert found.certificate.verdict == "PASS"
    assert [step.step for step in found.certificate.steps] == ["rendered", "adapter", "merged", "server"]
    assert all(step.is_within and not step.reason for step in found.certificate.steps)
    assert {step.step for step in found.measured} == {"adapter", "merged", "server"}
    assert max(step.max_delta for step in found.measured) <= 1e-4
    assert 0.0 <= found.noise_floor < 1e-4
    found.require()


def test_a_whole_tuned_model_has_no_adapter_to_certify(tmp_path: Path) -> None:
    parts = make_release_parts(tmp_path, method="full")
    found = run(parts, parts.export("merged"))

    assert [step.step for step in found.certificate.steps] == ["rendered", "merged", "server"]
    assert found.certificate.verdict == "PASS"


def test_a_bundle_of_the_adapter_alone_is_merged_in_memory(parts: ReleaseParts, tmp_path: Path) -> None:
    fresh = replace(parts, root=tmp_path)
    found = run(fresh, fresh.export("adapter"))

    assert [step.step for step in found.certificate.steps] == ["rendered", "adapter", "merged", "server"]
    assert found.certificate.verdict == "PASS"


def cut_the_merged_model(exports: dict[str, Path], _: Path) -> None:
    path = exports["merged"] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


SABOTAGE = {
    "one adapter tensor scaled by 1.1": RELEASE_SABOTAGE["one adapter tensor scaled by 1.1"],
    "merged model cut short": (cut_the_merged_model, "merged", "cannot be loaded"),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_sabotage_is_refused_and_its_step_is_named(bundle, tmp_path: Path, name: str) -> None:
    parts, exports = bundle
    break_bundle, step, reason = SABOTAGE[name]
    break_bundle(exports, tmp_path)

    found = run(parts, exports)

    assert found.certificate.verdict == "FAIL"
    assert found.certificate.broken_step == step
    assert found.certificate.steps[-1].step == step, "nothing is computed after the broken step"
    with pytest.raises(PolicyDenied, match=step) as caught:
        found.require()
    problem = caught.value.problems[0]
    assert (problem.code, problem.field) == ("E-DEP-001", step)
    assert caught.value.exit_code == 3
    assert reason in problem.got
    assert problem.fix
    assert problem.allowed


SPOILED: dict[str, tuple[Spoil, str]] = {
    "a token before the prompt": (
        lambda one: replace(one, prompt_token_ids=(0, *one.prompt_token_ids)),
        "other than the",
    ),
    "log-probabilities of another temperature": (
        lambda one: replace(one, logprobs=tuple(value * 1.01 - 0.001 for value in one.logprobs)),
        "a log-probability differs by",
    ),
    "a token that is not the best": (
        lambda one: replace(one, token_ids=((one.token_ids[0] + 1) % 300, *one.token_ids[1:])),
        "differs by",
    ),
    "log-probabilities left out": (lambda one: replace(one, logprobs=one.logprobs[1:]), "log-probabilities for"),
    "no number": (lambda one: replace(one, logprobs=(float("nan"), *one.logprobs[1:])), "differs by nan"),
    "no answer": (lambda one: replace(one, token_ids=(), logprobs=()), "0 log-probabilities for 0 tokens"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_server_that_answers_otherwise_breaks_the_last_step(parts: ReleaseParts, tmp_path: Path, name: str) -> None:
    spoil, reason = SPOILED[name]
    fresh = replace(parts, root=tmp_path)
    found = run(fresh, fresh.export("adapter"), spoil)

    assert found.certificate.broken_step == "server"
    assert reason in found.certificate.steps[-1].reason


def test_a_release_is_not_merged_on_a_base_with_other_bytes(parts: ReleaseParts, tmp_path: Path) -> None:
    """Another base of the same name and shape, at the place where the recorded one lay."""
    other = build_tiny("llama", tmp_path / "base", seed=3, hidden_size=32, intermediate_size=48, num_hidden_layers=2)
    moved = replace(on_other_base(parts, other), root=tmp_path)

    with pytest.raises(DeployError, match="not the one that was trained on") as caught:
        moved.export("merged")
    assert caught.value.code == "E-DEP-002"
    assert parts.trained.base_digest[:12] in caught.value.problems[0].needs


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_the_merged_export_is_what_peft_merges(bundle) -> None:
    """PEFT and transformers, with nothing of ours: base and adapter loaded from their folders, merged by PEFT."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    parts, exports = bundle
    base = AutoModelForCausalLM.from_pretrained(parts.trained.base_folder, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(base, exports["adapter"]).merge_and_unload()
    ours = AutoModelForCausalLM.from_pretrained(exports["merged"], dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(exports["adapter"])
    messages = [{"role": "user", "content": "where is my card"}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")["input_ids"]

    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, rtol=1e-5, atol=1e-5)
    assert ours.config.tie_word_embeddings
    assert "lm_head.weight" not in load_file(exports["merged"] / "model.safetensors")


def test_transformers_renders_a_probe_from_the_exports_own_files_as_training_did(bundle) -> None:
    from transformers import AutoTokenizer

    parts, exports = bundle
    for folder in exports.values():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        for probe in parts.probes:
            messages = [{"role": message.role, "content": message.text} for message in probe.row.messages]
            assert tokenizer.apply_chat_template(messages)["input_ids"] == probe.token_ids_T.tolist()


def test_an_untied_base_stays_untied(tmp_path: Path) -> None:
    parts = make_release_parts(tmp_path, architecture="qwen3")
    exports = parts.export("merged")

    assert not load_model(exports["merged"]).is_tied
    assert run(parts, exports).certificate.verdict == "PASS"


def test_scores_of_other_probes_are_not_compared(tmp_path: Path) -> None:
    from luthier.stages.deploy.probes import read_live_probes
    from tests.fixtures.example_records import make_examples
    from tests.fixtures.train_jobs import FolderBlobs

    blobs = FolderBlobs(tmp_path)
    examples = make_examples()
    rows = make_release_parts(tmp_path / "parts").probes
    plan = _with_identity(examples["plan"], probes=blobs.put_rows([probe.row for probe in rows]))
    line = {"id": "probe-0", "token_ids": [1, 2, 3], "logps": [-1.0, -2.0], "best_ids": [2, 3], "gaps": [0.5, 0.5]}
    good = _with_identity(examples["run"], probe_scores=blobs.put_lines([line]))
    assert np.array_equal(read_live_probes(plan, good, blobs)[0].token_ids_T, [1, 2, 3])

    for wrong in ({"id": "nobody"}, {"logps": [-1.0]}):
        run_record = _with_identity(examples["run"], probe_scores=blobs.put_lines([line | wrong]))
        with pytest.raises(StoreError, match="do not belong to its plan") as caught:
            read_live_probes(plan, run_record, blobs)
        assert caught.value.code == "E-DEP-004"


def _with_identity(record, **changes):
    return record.model_copy(update={"identity": record.identity.model_copy(update=changes)})


def test_a_merged_model_with_a_head_of_its_own_is_not_loaded_for_a_tied_base(bundle, tmp_path: Path) -> None:
    parts, exports = bundle
    RELEASE_SABOTAGE["tied embeddings untied"][0](exports, tmp_path)

    with pytest.raises(DeployError, match="has weights of its own") as caught:
        load_runtime("exporters", "merged").load(parts.trained, exports["merged"])
    assert caught.value.code == "E-DEP-005"
    assert "tie_word_embeddings true" in caught.value.problems[0].allowed
