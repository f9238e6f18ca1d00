"""Load a base model for packed computation: safetensors only, no code from the folder, packing proven at the door.

``LoadedModel`` is what every other file of this room works on. It holds transformers' own model and adds a flat
decoder body, the head's weight and form, and whether rows may share a pass. That is not taken from a list of
architectures alone: eight tokens are run packed and plain, and where the two differ, rows run one by one and
``why_not`` says so.
"""

from __future__ import annotations

import json
import shlex
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils.logging import disable_progress_bar

from luthier.foundation.core.errors import ModelError
from luthier.foundation.core.model_files import is_pickle
from luthier.instruments.engine import attention as forest_attention
from luthier.instruments.engine.allocation import hand_back_freed_memory, keep_freed_memory
from luthier.instruments.engine.fused import WeightCopies, fuse_modules, product_dtype
from luthier.instruments.engine.fused_attention import fuse_attention
from luthier.instruments.engine.last_block import TARGETS_KEY, trim_last_block
from luthier.instruments.engine.loss import HeadForm, compute_logits
from luthier.instruments.engine.packing import PackedBatch, pack_rows
from luthier.instruments.engine.segments import Forest, Segment
from luthier.instruments.engine.tiles import count_filler, fill

if TYPE_CHECKING:
    from luthier.instruments.text.encode import EncodedRow

DType = Literal["fp32", "bf16", "fp64"]
DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}
PLAIN_ATTENTION: Final = "sdpa"
PROOF_TOLERANCE: Final = {torch.float64: 1e-4, torch.float32: 1e-3, torch.bfloat16: 5e-2}


@dataclass(eq=False)
class LoadedModel:
    """A base model, ready for packs.

    Attributes:
        model: transformers' model; methods change its layers in place.
        config: Its configuration.
        device: Where it lies.
        can_pack: Whether several segments may share a forward pass.
        why_not: One sentence where they may not.
        can_trim: Whether the last block may be told which positions matter.
        head_form: How the head turns products into logits.
        adapter: What the method put around the model, where it did.
        base_name: Catalogue name of the base, written into adapters.
        base_digest: Digest of the base's weights, written into adapters.
        copies: Frozen weights in the precision of products.
    """

    model: Any
    config: Any
    device: torch.device
    can_pack: bool = True
    why_not: str = ""
    can_trim: bool = False
    head_form: HeadForm = field(default_factory=HeadForm)
    adapter: Any = None
    base_name: str = ""
    base_digest: str = ""
    copies: WeightCopies = field(default_factory=WeightCopies, repr=False)

    @property
    def decoder(self) -> nn.Module:
        """The model without its head."""
        decoder: nn.Module = self.model.base_model
        return decoder

    @property
    def head_weight_VD(self) -> Tensor:
        """The head's weight, (vocabulary, width); the embedding's own where they are tied.

        A frozen head comes in the precision that products run in, cast once: on a vocabulary of 49,152 a cast takes
        as long as a tenth of a pack.
        """
        weight: Tensor = self.model.get_output_embeddings().weight
        return weight if weight.requires_grad else self.copies.get(weight, product_dtype(weight))

    @property
    def is_tied(self) -> bool:
        """Whether head and embedding are one tensor."""
        embedding: Tensor = self.model.get_input_embeddings().weight
        return embedding.data_ptr() == self.head_weight_VD.data_ptr()

    @property
    def num_parameters(self) -> int:
        """All parameters, tied ones once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def body(
        self, input_ids_N: Tensor, position_ids_N: Tensor, forest: Forest, *, positions_M: Tensor | None = None
    ) -> Tensor:
        """Run the decoder over one pack.

        Args:
            input_ids_N: Tokens.
            position_ids_N: Position of each in its row.
            forest: How they are cut.
            positions_M: Places in the pack whose states are wanted; None for all.

        Returns:
            Last hidden states.

        Shapes:
            N tokens of the pack, M of them wanted, D model width; the result is (M, D), or (N, D).

        Raises:
            ModelError: E-ENG-008 for several segments where the architecture cannot pack.
        """
        options: dict[str, Any] = {}
        if self.can_pack:
            options[forest_attention.FOREST_KEY] = forest
        elif len(forest) > 1:
            raise ModelError(
                "E-ENG-008",
                "this architecture runs one row at a time",
                got=f"{len(forest)} segments; {self.why_not}",
                allowed="one segment",
                fix="pack with LoadedModel.pack",
            )
        num_tokens, embedding = len(input_ids_N), self.model.get_input_embeddings().weight
        is_trimmed = positions_M is not None and self.can_trim and len(positions_M) < num_tokens
        if is_trimmed:
            options[TARGETS_KEY] = positions_M
        num_filler = count_filler(num_tokens, embedding) if self.can_pack else 0
        ids_1N, positions_1N = (fill(t_N, num_filler, dim=0)[None] for t_N in (input_ids_N, position_ids_N))
        output = self.decoder(input_ids=ids_1N, position_ids=positions_1N, use_cache=False, **options)
        hidden: Tensor = output.last_hidden_state[0]
        if is_trimmed:
            return hidden
        return hidden[:num_tokens] if positions_M is None else hidden.index_select(0, positions_M)

    def target_hidden(self, batch: PackedBatch) -> Tensor:
        """Run the decoder over a pack and pick the positions that predict a target.

        Shapes:
            M targets, D model width; the result is (M, D).
        """
        return self.body(batch.input_ids_N, batch.position_ids_N, batch.forest, positions_M=batch.source_positions_M)

    def pack(self, rows: Sequence[EncodedRow], *, pack_tokens: int, merge_targets: bool = True) -> list[PackedBatch]:
        """Pack rows as this architecture allows; see :func:`packing.pack_rows`."""
        if not self.can_pack:
            packs = pack_rows(rows, pack_tokens=1, share_prefixes=False, merge_targets=merge_targets)
        else:
            packs = pack_rows(rows, pack_tokens=pack_tokens, merge_targets=merge_targets)
        return [pack.to(self.device) for pack in packs]

    @contextmanager
    def plain_attention(self) -> Iterator[None]:
        """Attend as transformers does, inside the context: for ``generate``, caches and padded batches."""
        before = self.config._attn_implementation
        self.config._attn_implementation = PLAIN_ATTENTION
        try:
            yield
        finally:
            self.config._attn_implementation = before

    def checkpoint_layers(self, *, enabled: bool) -> None:
        """Switch recomputation of each decoder block in the backward pass: less memory, a third more work.

        It takes effect while the model is in training mode.
        """
        for module in self.model.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.gradient_checkpointing = enabled
                module._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)


def load_model(
    folder: Path,
    *,
    dtype: DType = "fp32",
    attention: Literal["packed", "plain"] = "packed",
    device: str = "cpu",
    base_name: str = "",
    base_digest: str = "",
) -> LoadedModel:
    """Load a causal language model from a folder of safetensors.

    Args:
        folder: Holds ``config.json`` and safetensors.
        dtype: What the weights are held in.
        attention: ``packed`` where the architecture allows it, or always ``plain``.
        device: Where to put it.
        base_name: Catalogue name, written into adapters that are trained on it.
        base_digest: Digest of the weights, written into adapters likewise.

    Returns:
        The model in evaluation mode, all weights frozen; a method decides what is trained.

    Raises:
        ModelError: E-ENG-001 for pickled or missing weights, E-ENG-002 for code in the folder, E-ENG-007 for a folder
            that cannot be read.
    """
    check_folder(folder)
    hand_back_freed_memory()  # of the model before this one
    forest_attention.register()
    disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=DTYPES[dtype],
            attn_implementation=PLAIN_ATTENTION,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            "E-ENG-007",
            "the model folder cannot be loaded",
            got=str(error),
            origin=str(folder),
            allowed="a causal language model with config.json and safetensors",
            fix=f"luthier model check {shlex.quote(str(folder))}",
        ) from error
    loaded = wrap_model(model.to(device), attention=attention)
    loaded.base_name, loaded.base_digest = base_name, base_digest
    return loaded


def wrap_model(model: Any, *, attention: Literal["packed", "plain"] = "packed") -> LoadedModel:  # noqa: ANN401  untyped
    """Wrap a transformers model that is already in memory; packing is proven on eight tokens.

    Raises:
        ModelError: E-ENG-007 when the head cannot be reproduced.
    """
    forest_attention.register()
    if model.device.type == "cpu":
        keep_freed_memory()
    model.requires_grad_(requires_grad=False)
    model.eval()
    if model.dtype == torch.float64:  # the grouped product of mixtures of experts has no float64
        model.set_experts_implementation("eager")
    config = model.config.get_text_config()
    loaded = LoadedModel(model, config, next(model.parameters()).device, head_form=_read_head_form(config))
    loaded.can_pack, loaded.why_not = False, "plain attention was asked for"
    fuse_modules(model)
    _prove_head(loaded)
    if attention == "packed":
        loaded.why_not = _why_unpackable(model, config)
        if not loaded.why_not:
            loaded.can_pack = True
            config._attn_implementation = forest_attention.ATTENTION_NAME
            layers = fuse_attention(loaded.decoder, config)
            loaded.why_not = _disprove_packing(loaded)
            if loaded.why_not and layers:  # its attention only looks plain
                for layer in layers:
                    del layer.forward
                loaded.why_not = _disprove_packing(loaded)
            loaded.can_pack = not loaded.why_not
            loaded.can_trim = loaded.can_pack and _can_trim(loaded)
        if not loaded.can_pack:
            config._attn_implementation = PLAIN_ATTENTION
            warnings.warn(f"rows run one at a time: {loaded.why_not}", stacklevel=2)
    return loaded


def check_folder(folder: Path) -> None:
    """Refuse a folder whose loading could run code, before anything of it is loaded.

    Raises:
        ModelError: E-ENG-001 for pickles or no safetensors, E-ENG-002 for remote code, E-ENG-007 without a
            readable config.
    """
    pickles = sorted(path.name for path in folder.rglob("*") if is_pickle(path))
    if pickles or not any(folder.glob("*.safetensors")):
        raise ModelError(
            "E-ENG-001",
            "weights are read from safetensors only: a pickle can run code when it is loaded",
            got=", ".join(pickles) or "no safetensors file",
            origin=str(folder),
            allowed="*.safetensors",
            fix="save the weights as safetensors and remove the pickled files",
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        has_code = bool(config.get("auto_map"))
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(
            "E-ENG-007",
            "config.json cannot be read",
            got=str(error),
            origin=str(folder),
            fix=f"luthier model check {shlex.quote(str(folder))}",
        ) from error
    if has_code:
        raise ModelError(
            "E-ENG-002",
            "the model asks for code from its own folder",
            got=str(config["auto_map"]),
            origin=str(folder / "config.json"),
            allowed="architectures that transformers itself knows",
            fix="use a version of the model without auto_map",
        )


def _read_head_form(config: Any) -> HeadForm:  # noqa: ANN401  transformers' configuration
    divisor = getattr(config, "logits_scaling", None)
    scale = 1.0 / divisor if divisor else getattr(config, "logit_scale", None) or 1.0
    return HeadForm(float(scale), getattr(config, "final_logit_softcapping", None))


def _why_unpackable(model: Any, config: Any) -> str:  # noqa: ANN401
    """Return why rows cannot share a pass, as far as the configuration tells; empty where they may."""
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if kinds:
        return f"it has layers of kind {', '.join(sorted(kinds))}"
    rope = getattr(config, "rope_parameters", None) or {}
    ropes = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    for name in (part.get("rope_type", part.get("type")) for part in ropes):
        if name in {"dynamic", "longrope"}:
            return f"its rotary frequencies ({name}) depend on the longest row"
    if not getattr(model, "_supports_attention_backend", False):
        return "it does not attend through transformers' attention interface"
    if any(name.endswith("sinks") for name, _ in model.named_parameters()):
        return "it has attention sinks"
    if getattr(config, "attention_chunk_size", None):
        return "it attends in chunks"
    if getattr(config, "attn_logit_softcapping", None):
        return "it caps attention scores"
    if getattr(config, "attention_dropout", 0.0):
        return "it drops attention weights at random"
    return ""


def _proof_ids(loaded: LoadedModel) -> tuple[Tensor, Tensor]:
    step = max(1, loaded.head_weight_VD.shape[0] // 8)
    ids_T = torch.arange(8, device=loaded.device) * step % loaded.head_weight_VD.shape[0]
    return ids_T[:5], torch.cat([ids_T[:2], ids_T[5:]])


@torch.no_grad()
def _prove_head(loaded: LoadedModel) -> None:
    """Check that body and head, as used here, give the model's own logits."""
    ids_T, _ = _proof_ids(loaded)
    theirs_TV = loaded.model(input_ids=ids_T[None], use_cache=False).logits[0]
    positions_T = torch.arange(len(ids_T), device=loaded.device)
    hidden_TD = loaded.body(ids_T, positions_T, Forest.of_lengths(len(ids_T)))
    ours_TV = compute_logits(hidden_TD, loaded.head_weight_VD, loaded.head_form)
    if _relative_distance(ours_TV, theirs_TV) > PROOF_TOLERANCE[theirs_TV.dtype]:
        raise ModelError(
            "E-ENG-007",
            "the model turns hidden states into logits in a way that is not known here",
            got=type(loaded.model).__name__,
            allowed="a linear head with an optional scale and soft cap",
            fix="choose another base; luthier model list",
        )


@torch.no_grad()
def _disprove_packing(loaded: LoadedModel) -> str:
    """Run two rows that share their first two tokens as a forest and plain; say where they differ."""
    rows = _proof_ids(loaded)
    with loaded.plain_attention():
        plain = [loaded.decoder(input_ids=ids_T[None], use_cache=False).last_hidden_state[0] for ids_T in rows]
    forest = Forest.of(Segment(0, 2), Segment(2, 5, 0), Segment(5, 8, 0))
    positions_N = torch.tensor([0, 1, 2, 3, 4, 2, 3, 4], device=loaded.device)
    try:
        packed_ND = loaded.body(torch.cat([rows[0], rows[1][2:]]), positions_N, forest)
    except ModelError as error:
        return f"{error.problems[0].what}: {error.problems[0].got}"
    expected_ND = torch.cat([plain[0], plain[1][2:]])
    if _relative_distance(packed_ND, expected_ND) > PROOF_TOLERANCE[expected_ND.dtype]:
        return "packed and plain passes differ on a proof of eight tokens"
    return ""


@torch.no_grad()
def _can_trim(loaded: LoadedModel) -> bool:
    """Replace the last block's forward pass where three of eight positions come out as they do untrimmed."""
    ids_T, other_T = _proof_ids(loaded)
    ids_N = torch.cat([ids_T, other_T])
    positions_N = torch.cat([torch.arange(len(ids_T)), torch.arange(len(other_T))]).to(loaded.device)
    forest = Forest.of_lengths(len(ids_T), len(other_T))
    wanted_M = torch.tensor([1, 4, 4, 9], device=loaded.device)
    expected_MD = loaded.body(ids_N, positions_N, forest, positions_M=wanted_M)
    block = trim_last_block(loaded.decoder)
    if block is None:
        return False
    loaded.can_trim = True
    trimmed_MD = loaded.body(ids_N, positions_N, forest, positions_M=wanted_M)
    if _relative_distance(trimmed_MD, expected_MD) > PROOF_TOLERANCE[expected_MD.dtype]:
        del block.forward
        return False
    return True


def _relative_distance(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm().clamp_min(1e-30))
