"""The sceptics' systems: the base shown three training rows, the nearest row's answer, fewer base questions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from luthier.foundation.core.errors import EvalError
from luthier.foundation.core.progress import SilentProgress
from luthier.foundation.schema.rows import FunctionCall, Message, Row, ToolCall
from luthier.foundation.schema.sections import Gate
from luthier.instruments.text.nearest import find_nearest
from luthier.instruments.text.questions import Question
from luthier.instruments.text.tokens import TextTokenizer, load_tokenizer
from luthier.instruments.text.tool_calls import parse_tool_calls
from luthier.instruments.text.tool_templates import choose_tool_template
from luthier.stages.evaluate.compare import list_differences, list_values, score_suite
from luthier.stages.evaluate.gates import judge_gates
from luthier.stages.evaluate.harness import ANSWERS_NAME, AnswerLog, ask_all
from luthier.stages.evaluate.record import list_answers
from luthier.stages.evaluate.suite import LikelihoodSuite, PlannedSuite, Source
from luthier.stages.evaluate.suites.task.config import Config
from luthier.stages.evaluate.suites.task.suite import PLUGIN
from luthier.stages.evaluate.training_rows import list_training_questions, pick_shots, show_shots
from tests.fixtures.evaluate_runs import FakeMachine
from tests.fixtures.tiny_models import write_tiny_tokenizer

SYSTEM = "you are a bank"
ALL = ("base", "base_few_shot", "copy", "tuned")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return load_tokenizer(write_tiny_tokenizer(tmp_path_factory.mktemp("tokenizer")))


def make_row(name: str, asked: str, answer: str = "", *, tool: str = "", system: str = SYSTEM) -> Row:
    call = (ToolCall(function=FunctionCall(name=tool, arguments=json.dumps({"id": 7}))),) if tool else ()
    return Row(
        id=name,
        messages=(
            Message(role="system", content=system),
            Message(role="user", content=asked),
            Message(role="assistant", content=answer, tool_calls=call),
        ),
    )


def make_source(tokenizer: TextTokenizer, held_out: list[Row], train: list[Row]) -> Source:
    sets = {"test": held_out, "train": train}
    return Source(lambda name: iter(sets[name]), lambda *_: [], tokenizer, ALL, 512, 0, lambda _: None)


def plan(tokenizer: TextTokenizer, held_out: list[Row], train: list[Row], **options: object) -> PlannedSuite:
    config = Config.model_validate({"name": "task", "max_new_tokens": 4, **options})
    prompts = tuple(PLUGIN.gather(config, make_source(tokenizer, held_out, train)))
    return PlannedSuite("task", PLUGIN, config, prompts, ALL)


def questions_of(*rows: Row) -> tuple[Question, ...]:
    return list_training_questions(rows, instructions={SYSTEM})


TRAIN = [
    make_row("a", "my card is lost", "card"),
    make_row("b", "the card does not arrive", "card"),
    make_row("c", "what is my balance", tool="balance"),
    make_row("d", "send money to my friend", tool="transfer"),
    make_row("e", "a tale of dragons", "dragon", system="you write tales"),
]
HELD_OUT = [make_row(f"h{i}", f"where is card {i}", "card") for i in range(6)]


def test_nearest_is_what_scikit_learn_finds():
    """Of unrelated sentences the nearest by the same weighting, from another implementation."""
    random = np.random.default_rng(3)
    words = ["card", "cards", "refund", "refunding", "late", "parcel", "where", "is", "mine", "Ärger", "票", "no"]
    texts = [" ".join(random.choice(words, size=7)) for _ in range(60)]
    queries = [" ".join(random.choice(words, size=7)) for _ in range(25)] + ["zzz qqq"]
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(3, 5), lowercase=False)
    known = vectorizer.fit_transform([f" {text.casefold()} " for text in texts])
    likeness = (vectorizer.transform([f" {query.casefold()} " for query in queries]) @ known.T).toarray()
    found = find_nearest(queries, texts)
    assert np.allclose(likeness[np.arange(len(queries)), found], likeness.max(axis=1), rtol=1e-12)
    assert found[-1] == 0, "where nothing is alike the first stands"


def test_shots_show_each_kind_of_answer_once_before_any_twice_and_never_another_task():
    shots = pick_shots(questions_of(*TRAIN), seed=1)
    kinds = [tuple(call.function.name for call in shot.reference.tool_calls) for shot in shots]
    assert kinds == [(), ("balance",), ("transfer",)]
    assert pick_shots(questions_of(*reversed(TRAIN)), seed=1) == shots, "the order of rows moves nothing"
    assert len(pick_shots(questions_of(TRAIN[0]), seed=1)) == 1


def test_shots_stand_between_the_system_message_and_the_question():
    shots = pick_shots(questions_of(*TRAIN[:2]), seed=0)
    shown = show_shots(HELD_OUT[0].messages[:2], shots)
    assert [message.role for message in shown] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert [message.text for message in shown if message.text == SYSTEM] == [SYSTEM]
    assert shown[-1].text == "where is card 0"


def test_without_training_rows_of_the_task_there_is_nothing_to_show(tokenizer: TextTokenizer):
    with pytest.raises(EvalError) as caught:
        plan(tokenizer, HELD_OUT, [TRAIN[-1]])
    (problem,) = caught.value.problems
    assert (problem.code, problem.field) == ("E-EVA-011", "evaluate.systems")
    assert problem.got
    assert problem.allowed
    assert problem.fix == "systems: [base, tuned]"


def test_the_few_shot_prompt_goes_on_from_the_examples_and_the_others_do_not(tokenizer: TextTokenizer):
    prompt = plan(tokenizer, HELD_OUT, TRAIN[:2]).prompts[0]
    few = tokenizer.decode(prompt.ids_for("base_few_shot"))
    assert few.count("<|im_start|>assistant") == 3
    assert few.endswith("where is card 0<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.decode(prompt.ids_for("base")).count("<|im_start|>assistant") == 1


def test_copy_repeats_the_nearest_rows_answer_and_no_machine_is_asked(tokenizer: TextTokenizer, tmp_path: Path):
    planned = plan(tokenizer, HELD_OUT, TRAIN[:2])
    machine = FakeMachine()
    answers = ask_all([planned], ALL, machine, AnswerLog(tmp_path / ANSWERS_NAME), SilentProgress())
    assert {answer.text for answer in answers["task", "copy"].values()} == {"card"}
    assert {system for system, _ in machine.asked} == {"base", "base_few_shot", "tuned"}
    (scored,) = score_suite(planned, answers, call_style="none", seed=0)
    values = {value.system: value.value for value in list_values([scored])}
    assert values == {"base": 0.0, "base_few_shot": 0.0, "copy": 1.0, "tuned": 0.0}


def test_a_copied_tool_call_is_read_as_the_call_that_it_is(tokenizer: TextTokenizer):
    _, template = choose_tool_template(tokenizer.chat_template)
    with_tools = tokenizer.with_chat_template(template)
    held_out = [make_row("h", "tell me my balance", tool="balance")]
    prompt = plan(with_tools, held_out, [TRAIN[0], TRAIN[2]]).prompts[0]
    content, calls = parse_tool_calls(prompt.given["copy"])
    assert content == ""
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [("balance", {"id": 7})]


def test_bases_asked_fewer_questions_are_compared_on_these_alone(tokenizer: TextTokenizer, tmp_path: Path):
    """Two of six: what the tuned model does on the other four changes its own figure and no difference."""
    planned = plan(tokenizer, HELD_OUT, TRAIN[:2], base_questions=2)
    answers = ask_all([planned], ALL, FakeMachine(), AnswerLog(tmp_path / ANSWERS_NAME), SilentProgress())
    assert {system: len(answers["task", system]) for system in ALL} == {
        "base": 2,
        "base_few_shot": 2,
        "copy": 6,
        "tuned": 6,
    }
    assert answers["task", "base"].keys() == answers["task", "base_few_shot"].keys()
    (scored,) = score_suite(planned, answers, call_style="none", seed=0)
    assert {value.system: value.n for value in list_values([scored])} == {
        "base": 2,
        "base_few_shot": 2,
        "copy": 6,
        "tuned": 6,
    }
    base, copied = list_differences([scored], [("base", "tuned"), ("copy", "tuned")])
    assert (base.n, base.value) == (2, 0.0)
    assert (copied.n, copied.value) == (6, -1.0)
    gates = [Gate(metric="task.exact_match", above=against) for against in ("base", "copy")]
    assert [gate.n for gate in judge_gates(gates, [scored])] == [2, 6]
    lines = list(list_answers([planned], answers, [scored]))
    assert len(lines) == 2 + 2 + 6 + 6


def test_who_is_asked_does_not_depend_on_the_order_of_the_rows(tokenizer: TextTokenizer):
    def spared(rows: list[Row]) -> set[str]:
        return {p.id for p in plan(tokenizer, rows, TRAIN[:2], base_questions=2).prompts if "base" in p.left_out}

    assert spared(HELD_OUT) == spared(HELD_OUT[::-1])
    assert len(spared(HELD_OUT)) == 4


def test_suites_that_weigh_texts_compare_models_only():
    assert LikelihoodSuite().systems(ALL) == ("base", "tuned")
