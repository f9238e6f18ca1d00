"""The batched runtime below parity: who is asked together, sampling, refusals, architectures with their own cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.foundation.core.errors import EvalError
from luthier.instruments.engine.load import LoadedModel, wrap_model
from luthier.instruments.engine.runtimes.torch_batched.batches import plan_batches
from luthier.instruments.engine.runtimes.torch_batched.cache import _attend, _attend_plainly, attend_cached, hide
from luthier.instruments.engine.runtimes.torch_batched.config import Config
from luthier.instruments.engine.runtimes.torch_batched.runtime import PLUGIN, Asked, GeneratedAnswer
from luthier.instruments.engine.runtimes.torch_batched.sampling import TokenChooser, draw_tokens
from tests.fixtures.tiny_models import make_tiny

PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=40), min_size=1, max_size=40)


def _arrays(prompts: Sequence[Sequence[int]]) -> list[np.ndarray]:
    return [np.array(prompt, dtype=np.int32) for prompt in prompts]


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return wrap_model(make_tiny("llama", seed=3))


@given(PROMPTS, st.integers(1, 9), st.integers(1, 200), st.lists(st.integers(0, 2), max_size=40))
@settings(deadline=None)
def test_batches_hold_every_prompt_once_and_what_they_say_they_share(
    prompts: list[list[int]], batch_rows: int, batch_tokens: int, beginning: list[int]
) -> None:
    asked = _arrays([[*beginning, *prompt] for prompt in prompts])
    config = Config(max_new_tokens=5, batch_rows=batch_rows, batch_tokens=batch_tokens)
    batches = plan_batches(asked, config)
    assert sorted(row for batch in batches for row in batch.rows) == list(range(len(asked)))
    for batch in batches:
        first = asked[batch.rows[0]]
        lengths = [len(asked[row]) for row in batch.rows]
        assert len(batch.rows) <= batch_rows
        assert len(batch.rows) == 1 or len(batch.rows) * (max(lengths) - batch.num_shared + 5) <= batch_tokens
        assert batch.num_shared < min(lengths), "the last token is computed for each row"
        assert all(np.array_equal(asked[row][: batch.num_shared], first[: batch.num_shared]) for row in batch.rows)
        assert lengths == sorted(lengths)


def test_rows_of_two_systems_prompts_share_one_each_and_what_both_share_is_found() -> None:
    both, one, two = [9] * 20, [1] * 30, [2] * 30
    prompts = _arrays([*([*both, *one, 5, i] for i in range(6)), *([*both, *two, i] for i in range(6)), [*both, 7]])
    shared = {row: batch.num_shared for batch in plan_batches(prompts, Config()) for row in batch.rows}
    assert [shared[row] for row in range(13)] == [51] * 6 + [50] * 6 + [0]


def test_batches_do_not_depend_on_which_were_answered(loaded: LoadedModel) -> None:
    """Asked again, an open batch has the same company and gives the same answers, bit for bit."""
    rng = np.random.default_rng(0)
    beginning = rng.integers(8, 320, 20)
    prompts = [np.concatenate([beginning, rng.integers(8, 320, 1 + i % 9)]) for i in range(11)]
    config = Config(max_new_tokens=6, batch_rows=3)
    asked = Asked(prompts, config, frozenset({2}))
    batches = plan_batches(prompts, config)
    whole = dict(PLUGIN.answer_batches(loaded, asked, batches))
    for kept in range(1, len(batches)):
        assert dict(PLUGIN.answer_batches(loaded, asked, batches[kept:])) == {b: whole[b] for b in batches[kept:]}


def test_sampled_answers_depend_on_seed_and_place_not_on_company(loaded: LoadedModel) -> None:
    rng = np.random.default_rng(1)
    prompts = [rng.integers(8, 320, 4 + i) for i in range(8)]
    options = {"max_new_tokens": 8, "temperature": 1.3, "top_p": 0.9}
    together = PLUGIN.generate(loaded, prompts, Config(**options), end_ids=[2], seed=5)
    alone = PLUGIN.generate(loaded, prompts, Config(batch_rows=1, **options), end_ids=[2], seed=5)
    other = PLUGIN.generate(loaded, prompts, Config(**options), end_ids=[2], seed=6)
    assert _list_tokens(together) == _list_tokens(alone)
    assert _list_tokens(together) != _list_tokens(other)
    ours, theirs = ([answer.mean_logprob for answer in answers] for answers in (together, alone))
    assert ours == pytest.approx(theirs, abs=1e-5)


def _list_tokens(answers: Sequence[GeneratedAnswer]) -> list[tuple[tuple[int, ...], str, int | None]]:
    return [(answer.token_ids, answer.finish_reason, answer.end_id) for answer in answers]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.7)])
def test_tokens_are_drawn_with_their_probabilities(temperature: float, top_p: float) -> None:
    """4,000 draws against p^(1/T), cut to the likeliest tokens that reach top_p: within four standard errors."""
    base = np.array([0.1, 0.4, 0.3, 0.2])
    expected = base ** (1 / temperature) / (base ** (1 / temperature)).sum()
    order = np.argsort(-expected)
    kept = order[: int(np.searchsorted(np.cumsum(expected[order]), top_p - 1e-12)) + 1]
    expected = np.where(np.isin(np.arange(4), kept), expected, 0) / expected[kept].sum()
    chooser = TokenChooser(temperature=temperature, top_p=top_p, seed=0, places=range(4000))
    drawn = chooser.choose(torch.tensor(base).log().expand(4000, 4)).numpy()
    shares = np.bincount(drawn, minlength=4) / 4000
    assert np.all(np.abs(shares - expected) <= 4 * np.sqrt(expected * (1 - expected) / 4000))


@pytest.mark.parametrize("top_p", [1.0, 0.999, 0.6, 1e-9])
def test_a_draw_is_the_inverse_of_the_sorted_cumulative_probabilities(top_p: float) -> None:
    """Against a loop over tokens, likeliest first; flat rows need the whole vocabulary, peaked ones a few tokens."""
    rng = np.random.default_rng(4)
    logits = np.concatenate([rng.normal(0, spread, (12, 3000)) for spread in (0.1, 2.0, 8.0)])
    temperatures, draws = rng.uniform(0.3, 1.9, 36), rng.uniform(0, 1, 36)
    drawn = draw_tokens(
        torch.from_numpy(logits), temperatures_B=temperatures.tolist(), top_ps_B=[top_p] * 36, draws_B=draws.tolist()
    )
    for row, token in enumerate(drawn.tolist()):
        scaled = np.exp((logits[row] - logits[row].max()) / temperatures[row])
        order = np.argsort(-scaled, kind="stable")
        sorted_ = scaled[order] / scaled.sum()
        count = next((n for n in range(1, 3001) if sorted_[:n].sum() >= top_p - 1e-12), 3000)
        target, total = draws[row] * sorted_[:count].sum(), 0.0
        for place in range(count):
            total += sorted_[place]
            if total > target:
                break
        assert token == order[place]


def test_callback_sees_each_batch_when_it_is_done(loaded: LoadedModel) -> None:
    seen: list[tuple[int, ...]] = []
    config = Config(max_new_tokens=2, batch_rows=2)
    prompts = _arrays([[9], [10, 11], [12], [13, 14, 15]])
    answers = PLUGIN.generate(loaded, prompts, config, end_ids=[2], on_batch=lambda batch, _: seen.append(batch.rows))
    assert seen == [batch.rows for batch in plan_batches(prompts, config)]
    assert all(answer.finish_reason in {"stop", "length"} for answer in answers)
    assert PLUGIN.generate(loaded, [], config, end_ids=[2]) == []


@pytest.mark.parametrize("length", [0, 509])
def test_a_prompt_that_is_empty_or_leaves_no_room_is_refused(loaded: LoadedModel, length: int) -> None:
    with pytest.raises(EvalError) as caught:
        PLUGIN.generate(loaded, [np.ones(length, dtype=np.int32)], Config(max_new_tokens=4), end_ids=[2])
    problem = caught.value.problems[0]
    assert (problem.code, problem.origin) == ("E-EVA-001", "prompt 1")
    assert problem.got == f"{length} tokens, answer of up to 4"
    assert problem.allowed
    assert problem.fix


@pytest.mark.parametrize("num_queries", [1, 5])
def test_the_kernel_and_the_plain_products_attend_alike(num_queries: int) -> None:
    """Grouped heads, a shared beginning, hidden slots; outputs and log-sum-exp against torch's softmax in float64."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(3, 6, num_queries, 8, generator=generator, dtype=torch.float64)
    own, shared = (
        (
            torch.randn(*shape, generator=generator, dtype=torch.float64),
            torch.randn(*shape, generator=generator, dtype=torch.float64),
        )
        for shape in ((3, 2, 7, 8), (1, 2, 4, 8))
    )
    seen = torch.rand(3, 1, num_queries, 7, generator=generator) > 0.3
    keys, values = (
        torch.cat([s.expand(3, -1, -1, -1), o], dim=2).repeat_interleave(3, dim=1)
        for s, o in zip(shared, own, strict=True)
    )
    scores = query @ keys.transpose(2, 3) * 0.3
    scores[..., 4:] = scores[..., 4:].masked_fill(~seen, float("-inf"))
    expected = (scores.softmax(-1) @ values).transpose(1, 2)
    biases = (None, hide(seen, torch.float64))
    torch.testing.assert_close(attend_cached(query, own, shared, biases, scaling=0.3), expected, rtol=0, atol=1e-12)
    for attend in (_attend, _attend_plainly):
        output, lse = attend(query, own[0], own[1], biases[1], 0.3)
        torch.testing.assert_close(lse, scores[..., 4:].logsumexp(-1), rtol=0, atol=1e-12)
        torch.testing.assert_close(output, scores[..., 4:].softmax(-1) @ values[:, :, 4:], rtol=0, atol=1e-12)


def test_the_attention_of_the_model_is_left_as_it_was(loaded: LoadedModel) -> None:
    before = loaded.config._attn_implementation
    PLUGIN.generate(loaded, _arrays([[9, 10]]), Config(max_new_tokens=1), end_ids=[2])
    assert loaded.config._attn_implementation == before


def test_architectures_with_a_cache_of_their_own_give_the_same_answers() -> None:
    plain = wrap_model(make_tiny("mistral", seed=3).double(), attention="plain")
    packed = wrap_model(make_tiny("mistral", seed=3).double())
    assert (plain.can_pack, packed.can_pack) == (False, True)
    rng = np.random.default_rng(2)
    prompts = [rng.integers(8, 320, 3 + 4 * i) for i in range(4)]
    config = Config(max_new_tokens=8)
    ours = PLUGIN.generate(packed, prompts, config, end_ids=[2])
    assert PLUGIN.generate(plain, prompts, config, end_ids=[2]) == ours
