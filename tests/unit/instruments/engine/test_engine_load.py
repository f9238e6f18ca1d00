"""Loading: nothing that could run code, nothing that cannot be reproduced, and packing only where it is proven."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from luthier.foundation.core.errors import ModelError
from luthier.instruments.engine.load import check_folder, load_model, wrap_model
from luthier.instruments.engine.score import score_probes, score_rows
from luthier.instruments.engine.segments import Forest
from tests.fixtures.engine_laws import make_rows
from tests.fixtures.tiny_models import build_tiny, make_tiny


def _code(folder: Path) -> tuple[str, str]:
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    problem = caught.value.problems[0]
    assert problem.fix
    assert problem.origin.startswith(str(folder))
    return problem.code, problem.got


def test_a_folder_with_a_pickle_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    folder = build_tiny("llama", tmp_path / "model")
    (folder / "pytorch_model.BIN").write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    assert _code(folder) == ("E-ENG-001", "pytorch_model.BIN")


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    folder = build_tiny("llama", tmp_path / "model")
    (folder / "model.safetensors").unlink()
    assert _code(folder) == ("E-ENG-001", "no safetensors file")


def test_a_model_with_code_of_its_own_is_refused(tmp_path: Path) -> None:
    folder = build_tiny("llama", tmp_path / "model")
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {"auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil"}}
    path.write_text(json.dumps(config))
    code, got = _code(folder)
    assert code == "E-ENG-002"
    assert "modeling_evil" in got


@pytest.mark.parametrize("text", ["", "[]", "{", '"text"'])
def test_a_config_that_cannot_be_read_is_one_error(tmp_path: Path, text: str) -> None:
    folder = build_tiny("llama", tmp_path / "model")
    (folder / "config.json").write_text(text)
    assert _code(folder)[0] == "E-ENG-007"


@pytest.mark.parametrize("keep", [0, 7, 100, 5000])
def test_truncated_weights_are_one_error(tmp_path: Path, keep: int) -> None:
    folder = build_tiny("llama", tmp_path / "model")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert _code(folder)[0] == "E-ENG-007"


def test_an_unknown_architecture_is_one_error(tmp_path: Path) -> None:
    folder = build_tiny("llama", tmp_path / "model")
    (folder / "config.json").write_text(json.dumps({"model_type": "no-such-type"}))
    assert _code(folder)[0] == "E-ENG-007"


def test_a_sound_folder_passes_the_check(tmp_path: Path) -> None:
    folder = build_tiny("qwen3", tmp_path / "model")
    check_folder(folder)
    loaded = load_model(folder, base_name="tiny", base_digest="ab" * 32)
    assert (loaded.base_name, loaded.base_digest, loaded.can_pack) == ("tiny", "ab" * 32, True)
    assert loaded.num_parameters == sum(p.numel() for p in make_tiny("qwen3").parameters())
    assert not any(p.requires_grad for p in loaded.model.parameters())


ROPE = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"rope_parameters": ROPE}, "dynamic"),
        ({"attention_dropout": 0.1}, "at random"),
        ({"layer_types": ["full_attention", "chunked_attention", "full_attention"]}, "chunked_attention"),
    ],
)
def test_what_cannot_be_packed_runs_row_by_row_and_says_so(overrides: dict[str, object], reason: str) -> None:
    model = make_tiny("llama", **{name: value for name, value in overrides.items() if name != "layer_types"})
    for name, value in overrides.items():
        setattr(model.config, name, value)
    with pytest.warns(UserWarning, match="rows run one at a time"):
        loaded = wrap_model(model)
    assert not loaded.can_pack
    assert reason in loaded.why_not
    rows = make_rows()
    packs = loaded.pack(rows, pack_tokens=10_000)
    assert all(pack.num_rows == 1 for pack in packs)
    assert [len(scores) for scores in score_rows(loaded, rows, pack_tokens=10_000)] == [
        np.count_nonzero(row.weights_T) for row in rows
    ]
    with pytest.raises(ModelError) as caught:
        loaded.body(torch.zeros(4, dtype=torch.long), torch.tensor([0, 1, 0, 1]), Forest.of_lengths(2, 2))
    assert caught.value.code == "E-ENG-008"


def test_a_model_that_packs_wrongly_is_found_out_on_eight_tokens() -> None:
    """A layer that mixes neighbours outside attention, as a short convolution does, cannot be seen in the config."""
    model = make_tiny("llama")

    def mix(_module: object, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        return output + 0.1 * output.roll(1, dims=1)

    model.model.layers[0].mlp.register_forward_hook(mix)
    with pytest.warns(UserWarning, match="proof of eight tokens"):
        loaded = wrap_model(model)
    assert not loaded.can_pack


def test_plain_attention_can_be_asked_for() -> None:
    loaded = wrap_model(make_tiny("llama"), attention="plain")
    assert not loaded.can_pack
    assert loaded.why_not == "plain attention was asked for"


def test_a_head_that_is_not_understood_is_refused() -> None:
    model = make_tiny("llama")
    model.lm_head.register_forward_hook(lambda _module, _inputs, output: output + torch.arange(320.0))
    with pytest.raises(ModelError) as caught:
        wrap_model(model)
    assert caught.value.code == "E-ENG-007"


@pytest.mark.parametrize("softcap", [None, 4.0])
def test_scores_equal_the_models_own_logits(softcap: float | None) -> None:
    loaded = wrap_model(make_tiny("gemma3", final_logit_softcapping=softcap).double())
    rows = make_rows(seed=9)
    scores = score_probes(loaded, rows, pack_tokens=100)
    for row, score in zip(rows, scores, strict=True):
        ids_T = torch.from_numpy(row.token_ids_T).long()
        with loaded.plain_attention(), torch.no_grad():
            logits_TV = loaded.model(input_ids=ids_T[None], use_cache=False).logits[0, :-1]
        trained = np.flatnonzero(row.weights_T[1:])
        logps_TV = torch.log_softmax(logits_TV, dim=-1)[trained]
        # float32 norms inside: 1e-6 is their rounding
        np.testing.assert_allclose(score.logps_M, logps_TV[range(len(trained)), ids_T[1:][trained]], rtol=0, atol=2e-6)
        best = logps_TV.topk(2, dim=-1)
        assert score.best_ids_M.tolist() == best.indices[:, 0].tolist()
        np.testing.assert_allclose(score.gaps_M, best.values[:, 0] - best.values[:, 1], rtol=0, atol=2e-6)


def test_scoring_leaves_the_model_in_the_mode_it_was_in() -> None:
    loaded = wrap_model(make_tiny("llama"))
    loaded.model.train()
    assert score_rows(loaded, [], pack_tokens=10) == []
    assert loaded.model.training
