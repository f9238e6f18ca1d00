"""The machine that answers: one load for base and tuned, the base still the base afterwards, texts weighed truly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from luthier.foundation import registry
from luthier.instruments.engine.load import load_model
from luthier.instruments.engine.runtimes.torch_batched.config import Config as RuntimeConfig
from luthier.instruments.engine.runtimes.torch_batched.runtime import PLUGIN
from luthier.instruments.text.tokens import load_tokenizer
from luthier.stages.evaluate.harness import Answer
from luthier.stages.evaluate.machine import WEIGH_ROWS, EngineMachine, TunedFiles
from tests.fixtures.tiny_models import build_tiny

PROMPTS = [np.array(ids, dtype=np.int32) for ids in ([5, 6, 7], [5, 6, 8, 9], [11], [5, 6, 7, 7, 7])]
NEW_TOKENS = 5


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> EngineMachine:
    """Make a tiny base and an adapter that changes its answers."""
    base = build_tiny("llama", tmp_path_factory.mktemp("base"), seed=1)
    folder = tmp_path_factory.mktemp("adapter")
    loaded = load_model(base)
    method = registry.load_runtime("methods", "lora")
    with torch.no_grad():
        for parameter in method.build(loaded, registry.load_config("methods", "lora")(), seed=0):
            parameter.add_(0.3)
    method.save(loaded, folder)
    return EngineMachine(base, load_tokenizer(base), tuned=TunedFiles(folder, "lora", ""))


@pytest.fixture
def machine(files: EngineMachine) -> EngineMachine:
    """A machine that has not loaded anything yet."""
    return EngineMachine(files.base_folder, files.tokenizer, tuned=files.tuned)


def ask(machine: EngineMachine, system: str, max_new_tokens: int = NEW_TOKENS) -> list[Answer]:
    """Return the answers in the order of the prompts."""
    batches = machine.plan(PROMPTS, max_new_tokens)
    found: dict[int, Answer] = {}
    with machine.using(system):
        for batch, answers in zip(batches, machine.answer(PROMPTS, max_new_tokens, range(len(batches))), strict=True):
            found.update(zip(batch, answers, strict=True))
    return [found[place] for place in range(len(PROMPTS))]


def test_nothing_is_loaded_before_the_first_question(machine: EngineMachine) -> None:
    machine.plan(PROMPTS, NEW_TOKENS)
    with machine.using("base"):
        assert machine._loaded is None
    ask(machine, "base")
    assert machine._loaded is not None


def test_the_base_answers_after_the_tuned_as_it_did_before(machine: EngineMachine) -> None:
    before = ask(machine, "base")
    tuned = ask(machine, "tuned")
    loaded = machine.loaded

    assert ask(machine, "base") == before
    assert ask(machine, "tuned") == tuned
    assert tuned != before
    assert machine.loaded is loaded, "one load serves all"


def test_a_machine_that_is_asked_the_tuned_first_has_the_same_base(machine: EngineMachine) -> None:
    tuned_first = ask(machine, "tuned"), ask(machine, "base")
    fresh = EngineMachine(machine.base_folder, machine.tokenizer)

    assert tuned_first[1] == ask(fresh, "base")


@pytest.mark.parametrize("max_new_tokens", [0, NEW_TOKENS])
def test_batches_hold_every_prompt_once_and_can_be_asked_by_themselves(
    machine: EngineMachine, max_new_tokens: int
) -> None:
    batches = machine.plan(PROMPTS, max_new_tokens)
    assert sorted(place for batch in batches for place in batch) == list(range(len(PROMPTS)))

    whole = ask(machine, "base", max_new_tokens)
    for number, batch in enumerate(batches):
        with machine.using("base"):
            (alone,) = machine.answer(PROMPTS, max_new_tokens, [number])
        assert [answer.text for answer in alone] == [whole[place].text for place in batch]


def test_texts_are_weighed_sixteen_at_a_time_in_their_order(machine: EngineMachine) -> None:
    batches = machine.plan([PROMPTS[0]] * (2 * WEIGH_ROWS + 3), 0)

    assert [len(batch) for batch in batches] == [WEIGH_ROWS, WEIGH_ROWS, 3]
    assert [place for batch in batches for place in batch] == list(range(2 * WEIGH_ROWS + 3))


def test_the_mean_logprob_of_an_answer_is_transformers_own(machine: EngineMachine) -> None:
    """Asked again in one pass, the end token included where there is one; weighed texts have none."""
    theirs = AutoModelForCausalLM.from_pretrained(machine.base_folder)
    config = RuntimeConfig(max_new_tokens=NEW_TOKENS)
    unended = PLUGIN.generate(machine.loaded, PROMPTS, config, end_ids=())
    for end_ids in (frozenset[int](), frozenset({unended[0].token_ids[2]})):
        answers = PLUGIN.generate(machine.loaded, PROMPTS, config, end_ids=end_ids)
        for prompt, answer in zip(PROMPTS, answers, strict=True):
            new = [*answer.token_ids, *([] if answer.end_id is None else [answer.end_id])]
            with torch.no_grad():
                logits_TV = theirs(torch.tensor([[*prompt.tolist(), *new]])).logits[0, len(prompt) - 1 : -1]
            oracle = -torch.nn.functional.cross_entropy(logits_TV, torch.tensor(new))
            assert answer.mean_logprob == pytest.approx(float(oracle), abs=1e-5)
    assert {answer.end_id is None for answer in answers} == {True, False}
    assert ask(machine, "base")[0].mean_logprob == pytest.approx(
        PLUGIN.generate(machine.loaded, PROMPTS, config, end_ids=machine.tokenizer.end_token_ids)[0].mean_logprob,
        abs=1e-5,
    )
    assert ask(machine, "base", 0)[0].mean_logprob is None


def test_the_weight_of_a_text_is_transformers_own_cross_entropy(machine: EngineMachine) -> None:
    """Theirs is the mean over all tokens but the first, in nats; ours the sum."""
    theirs = AutoModelForCausalLM.from_pretrained(machine.base_folder).eval()

    for ids, answer in zip(PROMPTS, ask(machine, "base", 0), strict=True):
        assert (answer.text, answer.finish) == ("", "weighed")
        ids_BT = torch.tensor(ids[None].astype(np.int64))
        expected = 0.0
        if len(ids) > 1:
            with torch.no_grad():
                expected = float(theirs(input_ids=ids_BT, labels=ids_BT).loss) * (len(ids) - 1)
        assert answer.nats == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_the_tuned_model_weighs_a_text_otherwise_than_its_base(machine: EngineMachine) -> None:
    base, tuned = ask(machine, "base", 0), ask(machine, "tuned", 0)

    assert base[0].nats != pytest.approx(tuned[0].nats)
    assert ask(machine, "base", 0) == base


def test_the_base_writes_passages_of_its_own_by_seed_even_when_the_tuned_was_asked(machine: EngineMachine) -> None:
    first = machine.sample(3, 6)
    ask(machine, "tuned")

    assert machine.sample(3, 6) == first
    assert [len(passage) <= 6 for passage in first] == [True] * 3
    other = EngineMachine(machine.base_folder, machine.tokenizer, seed=1)
    assert other.sample(3, 6) != first
