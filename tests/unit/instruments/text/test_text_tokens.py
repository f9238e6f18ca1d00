"""A folder's tokenizer files: found, checked, and never changed by what they add on their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, processors

from luthier.foundation.core.errors import ModelError
from luthier.instruments.text.tokens import load_tokenizer
from tests.fixtures.text_tokenizers import CHATML, make_backend, make_tokenizer, write_tokenizer


def test_a_folder_is_loaded_with_its_template_and_ends(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path)
    backend = make_backend()
    ids = [backend.token_to_id("<|im_end|>"), backend.token_to_id("<|eot_id|>")]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}))
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.end_token, tokenizer.end_token_id) == ("<|im_end|>", ids[0])
    assert tokenizer.end_token_ids == frozenset(ids)
    assert tokenizer.bos_token == "<s>"  # noqa: S105
    assert tokenizer.bos_token_id == backend.token_to_id("<s>")
    assert tokenizer.vocabulary == backend.get_vocab_size()
    assert tokenizer.chat_template is not None
    assert tokenizer.chat_template.source == CHATML
    assert tokenizer.chat_template.end_tokens == ("<|im_end|>", "<|eot_id|>")


def test_one_end_token_id_is_enough(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path)
    (folder / "generation_config.json").write_text('{"eos_token_id": 0}')
    assert 0 in load_tokenizer(folder).end_token_ids


def test_tokens_decode_to_their_text_and_offsets_cover_it() -> None:
    tokenizer, text = make_tokenizer(), "Zürich 🦜\n\n<|im_end|> 12 "
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens.ids) == text
    assert tokens.offsets.shape == (len(tokens.ids), 2)
    assert {index for start, end in tokens.offsets for index in range(start, end)} == set(range(len(text)))
    assert tokenizer.decode(tokens.ids, skip_special=True) == text.replace("<|im_end|>", "")


def test_an_empty_text_has_no_tokens() -> None:
    tokens = make_tokenizer().encode("")
    assert (tokens.ids.shape, tokens.offsets.shape) == ((0,), (0, 2))


def test_what_a_tokenizer_adds_is_left_to_the_template(tmp_path: Path) -> None:
    """A post-processor would add ``<s>`` a second time and trim spaces off the offsets."""
    folder = write_tokenizer(tmp_path)
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    backend.enable_truncation(3)
    backend.save(str(folder / "tokenizer.json"))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.adds_bos
    text = "The parcel left the harbour"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert not load_tokenizer(write_tokenizer(tmp_path / "plain")).adds_bos


def test_special_tokens_may_be_objects_or_in_their_own_file(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, bos_token={"content": "<s>", "lstrip": False}, eos_token=None)
    (folder / "special_tokens_map.json").write_text('{"eos_token": {"content": "</s>"}}')
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.bos_token, tokenizer.end_token) == ("<s>", "</s>")


@pytest.mark.parametrize(
    "template",
    ["{{ messages }}", [{"name": "rag", "template": "x"}, {"name": "default", "template": "{{ messages }}"}]],
)
def test_a_template_inside_the_configuration_is_found(tmp_path: Path, template: object) -> None:
    folder = write_tokenizer(tmp_path, chat_template=None)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    loaded = load_tokenizer(folder).chat_template
    assert loaded is not None
    assert loaded.source == "{{ messages }}"


def test_no_template_is_no_error_and_one_can_be_given(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, chat_template=None)
    assert load_tokenizer(folder).chat_template is None
    given = load_tokenizer(folder, chat_template=CHATML).chat_template
    assert given is not None
    assert given.source == CHATML


def test_the_digest_changes_with_all_that_changes_ids() -> None:
    digests = {
        make_tokenizer().digest,
        make_tokenizer(None).digest,
        make_tokenizer(eos_token="</s>").digest,  # noqa: S106
        make_tokenizer(end_tokens=("</s>",)).digest,
    }
    assert len(digests) == 4
    assert make_tokenizer().digest == make_tokenizer().digest
    assert make_tokenizer(None).with_chat_template(CHATML).digest == make_tokenizer().digest


@pytest.mark.parametrize("eos_token", [None, "<|no_such_token|>"])
def test_a_tokenizer_without_an_end_token_is_refused(tmp_path: Path, eos_token: str | None) -> None:
    folder = write_tokenizer(tmp_path, eos_token=eos_token)
    with pytest.raises(ModelError, match="E-TXT-011") as caught:
        load_tokenizer(folder)
    problem = caught.value.problems[0]
    assert problem.origin.endswith("tokenizer_config.json")
    assert problem.fix
    assert problem.allowed


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", "{}"),
        ("tokenizer.json", '{"version": "1.0", "model"'),
        ("tokenizer_config.json", "{"),
        ("tokenizer_config.json", "[1]"),
        ("generation_config.json", "no"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: str) -> None:
    folder = write_tokenizer(tmp_path)
    (folder / name).write_text(content)
    with pytest.raises(ModelError, match="E-TXT-010") as caught:
        load_tokenizer(folder)
    assert name in str(caught.value)


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"E-TXT-010.*tokenizer\.json"):
        load_tokenizer(tmp_path)
