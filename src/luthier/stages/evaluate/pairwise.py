"""Two models on one file, and one model's answers to a file: what `compare` and `generate` stand on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from luthier.foundation.core.progress import Progress
from luthier.foundation.schema.report import Difference, MetricValue
from luthier.foundation.schema.rows import Row
from luthier.foundation.schema.sections import PluginChoice
from luthier.instruments.engine.runtimes.torch_batched.config import Config as RuntimeConfig
from luthier.instruments.engine.runtimes.torch_batched.runtime import PLUGIN
from luthier.instruments.engine.runtimes.torch_batched.runtime import Asked as AskedTokens
from luthier.instruments.measure.metric import Item
from luthier.instruments.text.encode import encode_prompt
from luthier.instruments.text.pairs import PREFERENCE, encode_pair
from luthier.instruments.text.questions import Question, iterate_questions
from luthier.instruments.text.tool_calls import find_call_style, parse_tool_calls, render_tool_calls
from luthier.stages.evaluate.compare import find_counted, find_flipped, list_differences, list_values, score_metric
from luthier.stages.evaluate.harness import Answer
from luthier.stages.evaluate.machine import EngineMachine, ModelFiles
from luthier.stages.evaluate.remote_model import RemoteModel
from luthier.stages.evaluate.suite import Prompt, draw, refuse_empty

FIRST, SECOND = "first", "second"
Asked = tuple[Row, Question]
"""A question with its row, whose further columns metrics may want."""


@dataclass(frozen=True, slots=True)
class AskOptions:
    """How two models or one are asked."""

    max_new_tokens: int = 128
    max_questions: int | None = None
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two models made of the same questions; differences are second minus first.

    Attributes:
        better: Questions on which the second does better by the first metric.
        worse: Questions on which it does worse.
        answers: Question id to (reference, first answer, second answer).
    """

    values: tuple[MetricValue, ...]
    differences: tuple[Difference, ...]
    better: tuple[str, ...]
    worse: tuple[str, ...]
    answers: dict[str, tuple[str, str, str]]


def compare_models(
    first: ModelFiles | RemoteModel,
    second: ModelFiles | RemoteModel,
    rows: Sequence[Row],
    *,
    metrics: Sequence[PluginChoice],
    options: AskOptions,
    progress: Progress,
) -> Comparison:
    """Ask two models every assistant turn of the rows and compare their answers.

    Two models of one base share one load of it.

    Raises:
        EvalError: E-EVA-001 for a question too long, E-EVA-004 without questions, E-EVA-009 for a metric that fits
            none.
        EnvironmentLacks: E-DEP-006 when a model's server does not answer.
    """
    asked = gather_questions(rows, options)
    prompts = [_put(row, question) for row, question in asked]
    refuse_empty(prompts, on="the given file", needs="rows with an assistant's turn after a user's or a tool's")
    for choice in metrics:
        find_counted(choice.type, choice, [Item(prompt.reference, fields=prompt.fields) for prompt in prompts])
    answered = dict(zip((FIRST, SECOND), _ask_both((first, second), asked, options, progress), strict=True))
    return _compare(prompts, answered, metrics, options)


def _compare(
    prompts: Sequence[Prompt],
    answered: Mapping[str, Sequence[Item]],
    metrics: Sequence[PluginChoice],
    options: AskOptions,
) -> Comparison:
    scored = [score_metric(choice.type, choice, prompts, answered, seed=options.seed) for choice in metrics]
    better, worse = find_flipped(scored[0], FIRST, SECOND)
    return Comparison(
        values=list_values(scored),
        differences=list_differences(scored, [(FIRST, SECOND)]),
        better=tuple(better),
        worse=tuple(worse),
        answers={
            prompt.id: (show_reference(prompt), one.answer, other.answer)
            for prompt, one, other in zip(prompts, answered[FIRST], answered[SECOND], strict=True)
        },
    )


def compare_pairs(
    first: ModelFiles,
    second: ModelFiles,
    rows: Sequence[Row],
    *,
    metrics: Sequence[PluginChoice],
    options: AskOptions,
    progress: Progress,
) -> Comparison:
    """Weigh both answers of preference pairs under two models and compare; the answers shown are leads in nats.

    Args:
        first: A model.
        second: Another; a base that is in memory for the first stays.
        rows: Those that are no preference pairs are left out.
        metrics: Of pairs, such as ``pair_likelihood``.
        options: ``max_questions`` bounds the pairs.
        progress: Told how far it is.

    Raises:
        EvalError: E-EVA-004 without pairs, E-EVA-009 for a metric that fits none.
    """
    pairs = [row for row in rows if row.kind == PREFERENCE]
    drawn = draw([row.id for row in pairs], options.max_questions, seed=options.seed, name="compare")
    pairs = [row for row in pairs if row.id in drawn]
    prompts = [_put_pair(row) for row in pairs]
    refuse_empty(prompts, on="the given rows", needs="preference rows: prompt, chosen, rejected")
    opened = _open_each((first, second), options)
    answered = {name: _weigh(*model, pairs, progress) for name, model in zip((FIRST, SECOND), opened, strict=True)}
    return _compare(prompts, answered, metrics, options)


def gather_questions(rows: Sequence[Row], options: AskOptions) -> list[Asked]:
    """Return the questions of rows, drawn by seed where there is a bound."""
    questions = [(row, question) for row in rows for question in iterate_questions(row)]
    drawn = draw([q.id for _, q in questions], options.max_questions, seed=options.seed, name="compare")
    return [(row, question) for row, question in questions if question.id in drawn]


def _put(row: Row, question: Question) -> Prompt:
    """Return a question as metrics see it; each model renders it in its own way."""
    return Prompt(
        id=question.id,
        row_id=question.row_id,
        cluster=question.group,
        messages=question.messages,
        reference=question.reference,
        token_ids={},
        fields=row.fields,
    )


def _put_pair(row: Row) -> Prompt:
    return Prompt(
        id=row.id,
        row_id=row.id,
        cluster=row.group or row.id,
        messages=row.messages,
        reference=row.chosen[0],
        token_ids={},
        fields=row.fields,
    )


def show_reference(prompt: Prompt) -> str:
    """Return the reference as text, its calls included."""
    calls = [f"{call.function.name}({call.function.arguments})" for call in prompt.reference.tool_calls]
    return "\n".join([text for text in (prompt.reference.text, *calls) if text])


def _ask_both(
    models: Sequence[ModelFiles | RemoteModel], asked: Sequence[Asked], options: AskOptions, progress: Progress
) -> Iterator[list[Item]]:
    """Yield each model's answers, in order."""
    opened = _open_each([model for model in models if isinstance(model, ModelFiles)], options)
    for model in models:
        if isinstance(model, RemoteModel):
            yield _ask_remote(model, asked, options, progress)
        else:
            machine, system = next(opened)
            yield _ask(machine, system, asked, options, progress)


def _open_each(models: Sequence[ModelFiles], options: AskOptions) -> Iterator[tuple[EngineMachine, str]]:
    """Yield each model's machine and the system to be; a base in memory stays for the next model that stands on it."""
    machine: EngineMachine | None = None
    before: ModelFiles | None = None
    for model in models:
        if machine is None or before is None or not _share_load(before, model):
            machine = model.open(options.precision, options.seed)
        else:
            machine.tuned = model.tuned
        before = model
        yield machine, model.system


def _share_load(first: ModelFiles, second: ModelFiles) -> bool:
    is_same_base = first.base_folder == second.base_folder and first.chat_template == second.chat_template
    return is_same_base and first.tuned is None


def _ask_remote(model: RemoteModel, asked: Sequence[Asked], options: AskOptions, progress: Progress) -> list[Item]:
    questions = [question for _, question in asked]
    items = []
    with progress.task("answer", total=len(questions), unit="answers") as bar:
        for (row, question), reply in zip(asked, model.answer(questions, options.max_new_tokens), strict=True):
            answer = render_tool_calls(reply.content, reply.calls)
            items.append(Item(question.reference, answer, reply.content, reply.calls, row.fields))
            bar.advance()
    return items


def _ask(
    machine: EngineMachine, system: str, asked: Sequence[Asked], options: AskOptions, progress: Progress
) -> list[Item]:
    template = machine.tokenizer.chat_template
    style = find_call_style(template) if template else "none"
    prompts = [
        encode_prompt(question.messages, question.tools, machine.tokenizer, origin=str(question.origin))
        for _, question in asked
    ]
    batches = machine.plan(prompts, options.max_new_tokens)
    answers: dict[int, Answer] = {}
    with machine.using(system), progress.task("answer", total=len(prompts), unit="answers") as bar:
        answered = machine.answer(prompts, options.max_new_tokens, range(len(batches)))
        for batch, found in zip(batches, answered, strict=True):
            answers.update(zip(batch, found, strict=True))
            bar.advance(len(batch))
    items = []
    for place, (row, question) in enumerate(asked):
        content, calls = parse_tool_calls(answers[place].text, style)
        items.append(Item(question.reference, answers[place].text, content, calls, row.fields))
    return items


def _weigh(machine: EngineMachine, system: str, rows: Sequence[Row], progress: Progress) -> list[Item]:
    pairs = [encode_pair(row, machine.tokenizer) for row in rows]
    batches = machine.plan(pairs, 0)
    answers: dict[int, Answer] = {}
    with machine.using(system), progress.task("weigh", total=len(pairs), unit="pairs") as bar:
        for batch, found in zip(batches, machine.answer(pairs, 0, range(len(batches))), strict=True):
            answers.update(zip(batch, found, strict=True))
            bar.advance(len(batch))
    leads = [answers[place].lead for place in range(len(rows))]
    return [
        Item(row.chosen[0], answer=f"{lead:.4g}", fields=row.fields, lead=lead)
        for row, lead in zip(rows, leads, strict=True)
    ]


def generate_answers(
    model: ModelFiles | RemoteModel,
    rows: Sequence[Row],
    *,
    options: AskOptions,
    temperature: float = 0.0,
    top_p: float = 1.0,
) -> Iterator[dict[str, object]]:
    """Answer rows one batch at a time; rows that end in a user's or a tool's turn are continued, others re-answered.

    Args:
        model: The model.
        rows: Conversations.
        options: Bounds, seed and precision; ``max_questions`` bounds the rows.
        temperature: 0 is greedy.
        top_p: Share of the probability that may be drawn from.

    Yields:
        ``{"id", "answer", "finish_reason", "num_tokens"}`` a row, in the order in which they are done.

    Raises:
        EvalError: E-EVA-001 for a prompt too long.
        EnvironmentLacks: E-DEP-006 when the model's server does not answer.
    """
    chosen = [row for row in rows if row.kind == "conversation" and row.messages][: options.max_questions]
    asked = [(row, row.messages[:-1] if row.messages[-1].role == "assistant" else row.messages) for row in chosen]
    config = RuntimeConfig(max_new_tokens=options.max_new_tokens, temperature=temperature, top_p=top_p)
    if isinstance(model, RemoteModel):
        yield from model.generate(asked, config, seed=options.seed)
        return
    machine = model.open(options.precision, options.seed)
    prompts = [encode_prompt(history, row.tools, machine.tokenizer, origin=str(row.origin)) for row, history in asked]
    tokens = AskedTokens(prompts, config, machine.tokenizer.end_token_ids, options.seed)
    with machine.using(model.system):
        for batch, found in PLUGIN.answer_batches(machine.loaded, tokens, PLUGIN.plan_batches(prompts, config)):
            for place, answer in zip(batch.rows, found, strict=True):
                yield {
                    "id": chosen[place].id,
                    "answer": machine.tokenizer.decode(list(answer.token_ids)),
                    "finish_reason": answer.finish_reason,
                    "num_tokens": len(answer.token_ids),
                }
