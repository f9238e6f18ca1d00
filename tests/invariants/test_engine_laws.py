"""The laws of packed training, over six architectures: what is computed never depends on how it is computed.

Tolerances: in float64 with float64 norms nothing rounds above 1e-16, so 1e-10 leaves room only for sums in another
order. As shipped, transformers' norms round to float32 (6e-8), hence 1e-6; in float32 throughout, 1e-5.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from luthier.instruments.engine.load import LoadedModel, wrap_model
from luthier.instruments.engine.methods.full.config import Config as FullConfig
from luthier.instruments.engine.methods.full.method import PLUGIN as FULL
from luthier.instruments.engine.methods.lora.config import Config as LoraConfig
from luthier.instruments.engine.methods.lora.method import PLUGIN as LORA
from luthier.instruments.engine.score import score_rows
from tests.fixtures.engine_laws import double_norms, make_rows, run_packed, run_plain
from tests.fixtures.tiny_models import ARCHITECTURES, make_tiny

FORMS = {
    "exact": (torch.float64, True, 1e-10),
    "shipped": (torch.float64, False, 1e-6),
    "single": (torch.float32, False, 1e-5),
}
SPLITS = (30, 64, 130, 1000)


def _load(architecture: str, form: str = "exact") -> tuple[LoadedModel, float]:
    dtype, is_double, tolerance = FORMS[form]
    model = make_tiny(architecture, seed=3).to(dtype)
    if is_double:
        double_norms(model)
    return wrap_model(model), tolerance


def _untouched(architecture: str, form: str) -> LoadedModel:
    """Return transformers' own model, none of whose modules is replaced: the oracle."""
    dtype, is_double, _ = FORMS[form]
    model = make_tiny(architecture, seed=3).to(dtype)
    if is_double:
        double_norms(model)
    if dtype == torch.float64:
        model.set_experts_implementation("eager")
    return LoadedModel(model, model.config, torch.device("cpu"))


def _add_adapter(loaded: LoadedModel) -> None:
    parameters = LORA.build(loaded, LoraConfig(rank=4), seed=1)
    with torch.no_grad():
        for parameter in parameters:  # B starts at zero, which would hide A's gradient
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7)) * 0.1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("form", FORMS)
def test_a_forest_equals_its_rows_written_out_one_by_one(architecture: str, form: str) -> None:
    loaded, tolerance = _load(architecture, form)
    assert loaded.can_pack, loaded.why_not
    FULL.build(loaded, FullConfig(), seed=0)
    rows = make_rows()
    forests = [batch.forest for batch in loaded.pack(rows, pack_tokens=1000)]
    assert max(forest.depth for forest in forests) == 3, "the rows are made so that three levels are shared"
    assert run_packed(loaded, rows).distance(run_plain(_untouched(architecture, form), rows)) < tolerance


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_do_not_depend_on_how_rows_are_split(architecture: str) -> None:
    loaded, tolerance = _load(architecture)
    _add_adapter(loaded)
    rows = make_rows(seed=1)
    expected = run_plain(loaded, rows)
    for pack_tokens in SPLITS:
        for order in (rows, rows[::-1]):
            found = run_packed(loaded, order, pack_tokens=pack_tokens, chunk_tokens=pack_tokens // 7)
            assert found.distance(expected) < tolerance, f"packs of {pack_tokens} tokens"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_recomputing_layers_changes_no_gradient(architecture: str) -> None:
    loaded, tolerance = _load(architecture)
    _add_adapter(loaded)
    rows = make_rows(seed=2)
    expected = run_packed(loaded, rows)
    loaded.model.train()
    loaded.checkpoint_layers(enabled=True)
    assert run_packed(loaded, rows).distance(expected) < tolerance


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_merged_equals_adapter_and_switched_off_equals_base(architecture: str) -> None:
    loaded, tolerance = _load(architecture)
    rows = make_rows(seed=4)
    base = score_rows(loaded, rows, pack_tokens=200)
    _add_adapter(loaded)
    tuned = score_rows(loaded, rows, pack_tokens=200)
    with LORA.disabled(loaded):
        again = score_rows(loaded, rows, pack_tokens=200)
    LORA.merge(loaded)
    merged = score_rows(loaded, rows, pack_tokens=90)
    for index in range(len(rows)):
        assert abs(again[index] - base[index]).max() == 0.0
        assert abs(merged[index] - tuned[index]).max() < tolerance
    assert max(abs(tuned[index] - base[index]).max() for index in range(len(rows))) > 0.1, "the adapter does something"


def test_packing_does_not_change_where_a_mixture_routes() -> None:
    loaded, _ = _load("qwen3_moe")
    seen: list[torch.Tensor] = []
    for module in loaded.model.modules():
        if type(module).__name__.endswith("TopKRouter"):
            module.register_forward_hook(lambda _module, _inputs, output: seen.append(output[2]))
    rows = make_rows(seed=5)
    score_rows(replace(loaded, can_trim=False), rows, pack_tokens=10_000)  # every token passes every router
    packed = torch.cat(seen, dim=-1)
    batch = loaded.pack(rows, pack_tokens=10_000)[0]
    seen.clear()
    for row in rows:
        with loaded.plain_attention(), torch.no_grad():
            ids_T = torch.from_numpy(row.token_ids_T).long()
            loaded.model(input_ids=ids_T[None], use_cache=False)
        alone = torch.cat(seen, dim=-1)
        seen.clear()
        matches = [
            int(index)
            for index in torch.nonzero(batch.input_ids_N == ids_T[-1]).flatten()
            if batch.position_ids_N[index] == len(ids_T) - 1 and torch.equal(packed[index], alone[-1])
        ]
        assert matches, f"{row.id}: the last token goes to other experts than alone"
