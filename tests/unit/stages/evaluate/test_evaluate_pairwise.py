"""Two models on one file, and answers to a file, on a tiny model and its adapter."""

from __future__ import annotations

import pytest
import torch

from luthier.foundation import registry
from luthier.foundation.core.errors import EvalError
from luthier.foundation.core.progress import SilentProgress
from luthier.foundation.schema.rows import Message, Row
from luthier.foundation.schema.sections import PluginChoice
from luthier.instruments.engine.load import load_model
from luthier.instruments.text.pairs import encode_pair
from luthier.instruments.text.tokens import load_tokenizer
from luthier.stages.evaluate.machine import ModelFiles, TunedFiles
from luthier.stages.evaluate.pairwise import AskOptions, compare_models, compare_pairs, generate_answers
from tests.fixtures.tiny_models import build_tiny

OPTIONS = AskOptions(max_new_tokens=6)
METRICS = (PluginChoice(type="exact_match"),)


def _row(index: int, *, answer: str | None = "an answer") -> Row:
    messages = [Message(role="user", content=f"reset card {index}")]
    if answer is not None:
        messages.append(Message(role="assistant", content=answer))
    return Row(id=f"r{index}", messages=tuple(messages))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelFiles, ModelFiles]:
    base = build_tiny("llama", tmp_path_factory.mktemp("base"), seed=1)
    folder = tmp_path_factory.mktemp("adapter")
    loaded = load_model(base)
    method = registry.load_runtime("methods", "lora")
    with torch.no_grad():
        for parameter in method.build(loaded, registry.load_config("methods", "lora")(), seed=0):
            parameter.add_(0.3)
    method.save(loaded, folder)
    return ModelFiles(base), ModelFiles(base, TunedFiles(folder, "lora", ""))


def test_the_second_models_own_answers_beat_the_first(models: tuple[ModelFiles, ModelFiles]) -> None:
    """With the tuned model's answers as references, it is right everywhere and the base nowhere."""
    base, tuned = models
    asked = [_row(i, answer=None) for i in range(8)]
    own = {str(line["id"]): str(line["answer"]) for line in generate_answers(tuned, asked, options=OPTIONS)}
    rows = [_row(i, answer=own[f"r{i}"]) for i in range(8)]
    result = compare_models(base, tuned, rows, metrics=METRICS, options=OPTIONS, progress=SilentProgress())
    assert [value.value for value in result.values] == [0.0, 1.0]
    assert (result.differences[0].value, result.differences[0].p) == (1.0, 2**-7)
    assert (len(result.better), result.worse) == (8, ())
    assert result.answers["r0#0"][0] == result.answers["r0#0"][2] == own["r0"]
    back = compare_models(tuned, base, rows, metrics=METRICS, options=OPTIONS, progress=SilentProgress())
    assert back.differences[0].value == -1.0


def test_a_model_against_itself_shows_no_difference(models: tuple[ModelFiles, ModelFiles]) -> None:
    rows = [_row(i) for i in range(4)]
    for files in models:
        result = compare_models(files, files, rows, metrics=METRICS, options=OPTIONS, progress=SilentProgress())
        assert (result.differences[0].value, result.differences[0].p) == (0.0, 1.0)


def test_rows_with_and_without_their_answer_are_asked_alike(models: tuple[ModelFiles, ModelFiles]) -> None:
    base, _ = models
    asked = list(generate_answers(base, [_row(0, answer=None)], options=OPTIONS))
    again = list(generate_answers(base, [_row(0)], options=OPTIONS))
    assert asked == again
    assert set(asked[0]) == {"id", "answer", "finish_reason", "num_tokens"}


def test_a_file_without_questions_is_refused(models: tuple[ModelFiles, ModelFiles]) -> None:
    text = [Row(id="t", kind="text", text="nothing to ask")]
    with pytest.raises(EvalError) as caught:
        compare_models(*models, text, metrics=METRICS, options=OPTIONS, progress=SilentProgress())
    assert caught.value.code == "E-EVA-004"


def _pair(index: int) -> Row:
    words = ("card", "balance", "reset", "answer")
    return Row(
        id=f"p{index}",
        kind="preference",
        messages=(Message(role="user", content=f"reset card {index}"),),
        chosen=(Message(role="assistant", content=words[index % 4]),),
        rejected=(Message(role="assistant", content=words[(index + 1) % 4]),),
    )


def _find_leads(model: torch.nn.Module, files: ModelFiles, rows: list[Row]) -> dict[str, float]:
    """Oracle: transformers' own loss, whose labels are the answer's tokens, times their number."""
    tokenizer, leads = load_tokenizer(files.base_folder), {}
    for row in rows:
        nats = []
        for sequence in encode_pair(row, tokenizer).sequences:
            ids = torch.from_numpy(sequence.token_ids_T.astype("int64"))[None]
            labels = ids.masked_fill(torch.from_numpy(sequence.weights_T == 0)[None], -100)
            with torch.no_grad():
                nats.append(float(model(input_ids=ids, labels=labels).loss) * sequence.num_trained)
        leads[row.id] = nats[1] - nats[0]
    return leads


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_pairs_are_weighed_by_each_model_as_transformers_and_peft_weigh_them(
    models: tuple[ModelFiles, ModelFiles],
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base, tuned = models
    rows = [_pair(index) for index in range(8)]
    metrics = (PluginChoice(type="pair_likelihood"),)
    found = compare_pairs(base, tuned, [_row(0), *rows], metrics=metrics, options=OPTIONS, progress=SilentProgress())

    plain = AutoModelForCausalLM.from_pretrained(base.base_folder).eval()
    leads = [_find_leads(plain, base, rows)]
    assert tuned.tuned is not None
    leads.append(_find_leads(PeftModel.from_pretrained(plain, tuned.tuned.folder).eval(), base, rows))
    assert [value.value for value in found.values] == [sum(lead > 0 for lead in own.values()) / 8 for own in leads]
    for name, (_, one, other) in found.answers.items():
        assert (float(one), float(other)) == pytest.approx((leads[0][name], leads[1][name]), rel=1e-3, abs=1e-4)
    flipped = {name for name in leads[0] if (leads[0][name] > 0) != (leads[1][name] > 0)}
    assert {*found.better, *found.worse} == flipped


def test_rows_without_pairs_are_refused(models: tuple[ModelFiles, ModelFiles]) -> None:
    metrics = (PluginChoice(type="pair_likelihood"),)
    with pytest.raises(EvalError) as caught:
        compare_pairs(*models, [_row(0)], metrics=metrics, options=OPTIONS, progress=SilentProgress())
    assert caught.value.code == "E-EVA-004"
