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
from luthier.stages.evaluate.machine import TunedFiles
from luthier.stages.evaluate.pairwise import AskOptions, ModelFiles, compare_models, generate_answers
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
