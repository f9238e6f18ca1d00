"""LoRA at run time: PEFT's layers in the model, PEFT's layout on disk."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.functional import linear

from luthier.foundation.core.errors import ModelError
from luthier.instruments.engine.fused import WeightCopies, adapted_linear, product_dtype
from luthier.instruments.engine.load import LoadedModel
from luthier.instruments.engine.methods.lora.config import Config
from luthier.instruments.engine.methods.lora.shared import SharedLora, is_plain
from luthier.instruments.engine.tensors_file import write_tensors

WEIGHTS_NAME: Final = "adapter_model.safetensors"
CONFIG_NAME: Final = "adapter_config.json"
DIGEST_KEY: Final = "luthier_base_digest"


class LoraMethod:
    """Train two thin matrices beside each linear layer."""

    can_disable = True

    def build(self, loaded: LoadedModel, config: Config, *, seed: int) -> list[nn.Parameter]:
        """Put PEFT's layers around the targets; B starts at zero, so the model starts as its base.

        Raises:
            PlanError: E-ENG-004 when a target matches nothing, E-ENG-003 when the rank is above a layer's width.
        """
        targets = config.choose_targets(find_linear_shapes(loaded))
        peft_config = LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=sorted(targets),
            use_rslora=config.rank_stabilised,
            bias="none",
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._attach(loaded, peft_config)
        return [parameter for parameter in loaded.model.parameters() if parameter.requires_grad]

    def state(self, loaded: LoadedModel) -> dict[str, Tensor]:
        """Return the thin matrices under PEFT's names."""
        state = get_peft_model_state_dict(loaded.adapter, save_embedding_layers=False)
        return {name: value.detach().cpu().contiguous() for name, value in sorted(state.items())}

    def load_state(self, loaded: LoadedModel, state: dict[str, Tensor]) -> None:
        """Put the thin matrices back.

        Raises:
            ModelError: E-ENG-009 when names or shapes differ.
        """
        own = self.state(loaded)
        different = sorted(own.keys() ^ state.keys()) or [n for n in own if own[n].shape != state[n].shape]
        if different:
            raise ModelError(
                "E-ENG-009",
                "the saved adapter does not fit this model",
                got=", ".join(different[:3]),
                allowed=f"{len(own)} tensors for {type(loaded.model).__name__}",
                fix="name the base that the adapter was trained on",
            )
        set_peft_model_state_dict(loaded.adapter, state)

    def save(self, loaded: LoadedModel, folder: Path) -> None:
        """Write the adapter in PEFT's layout; the base's digest stands in the weights' metadata, in a key of ours.

        PEFT warns of every key in adapter_config.json that it does not know, and reads no metadata.
        """
        peft_config = loaded.adapter.peft_config["default"]
        fields = {name: _jsonable(value) for name, value in peft_config.to_dict().items()}
        fields |= {"inference_mode": True, "base_model_name_or_path": loaded.base_name}
        metadata = {"format": "pt", DIGEST_KEY: loaded.base_digest}
        write_tensors(folder / WEIGHTS_NAME, self.state(loaded), metadata=metadata)
        text = json.dumps(fields, indent=2, sort_keys=True) + "\n"
        (folder / CONFIG_NAME).write_text(text, encoding="utf-8")

    def load(self, loaded: LoadedModel, folder: Path, expected_base_digest: str) -> None:
        """Put a saved adapter on its base.

        Raises:
            ModelError: E-ENG-005 when it was trained on another base, E-ENG-009 when files are missing or damaged.
        """
        peft_config, state = open_adapter(folder, expected_base_digest)
        self._attach(loaded, peft_config)
        self.load_state(loaded, state)

    def merge(self, loaded: LoadedModel) -> None:
        """Add the scaled product of the thin matrices to each layer and take PEFT's layers out."""
        loaded.model = loaded.adapter.merge_and_unload()
        loaded.adapter = None

    @contextmanager
    def disabled(self, loaded: LoadedModel) -> Iterator[None]:
        """Give the base back inside the context, exactly."""
        with loaded.adapter.disable_adapter():
            yield

    def can_share(self, folder: Path) -> bool:
        """Say whether an adapter is one pair of thin matrices a layer and nothing else."""
        return is_plain(_make_config(_read(folder)[0]))

    def share(self, loaded: LoadedModel) -> SharedLora:
        """Prepare a base for several adapters at once."""
        return SharedLora(loaded, open_adapter)

    def _attach(self, loaded: LoadedModel, peft_config: LoraConfig) -> None:
        peft_config.inference_mode = False
        with warnings.catch_warnings():
            # PEFT 0.21 asks transformers 5.23 a question by its old name: huggingface/peft, save_and_load
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            loaded.adapter = get_peft_model(loaded.model, peft_config)
        copies = WeightCopies()
        for module in loaded.model.modules():
            if type(module) is Linear:
                module.forward = partial(_forward, module, copies)


def _forward(layer: Any, copies: WeightCopies, x: Tensor) -> Tensor:  # noqa: ANN401  PEFT's layer
    """Run PEFT's linear layer in one function where it is plain; else as PEFT does."""
    base = layer.base_layer
    is_frozen = type(base) is nn.Linear and not base.weight.requires_grad
    if is_frozen and layer.disable_adapters and not layer.merged:
        return _base_forward(base, copies, x)
    is_plain = (
        layer.active_adapters == ["default"]
        and not (layer.disable_adapters or layer.merged or layer.lora_variant)
        and isinstance(layer.lora_dropout["default"], nn.Identity)
        and is_frozen
    )
    if not is_plain:
        output: Tensor = type(layer).forward(layer, x)
        return output
    return adapted_linear(
        x,
        copies.get(base.weight, product_dtype(x)),
        base.bias,
        layer.lora_A["default"].weight,
        layer.lora_B["default"].weight,
        scaling=layer.scaling["default"],
    )


def _base_forward(base: Any, copies: WeightCopies, x: Tensor) -> Tensor:  # noqa: ANN401  a bias may be None
    """Run a layer whose adapter is off, to the bit what :func:`adapted_linear` gives where B is zero.

    A preference objective runs the base in every step, so its weights are cast once and not at every pass.
    """
    weight = copies.get(base.weight, product_dtype(x))
    return linear(x.to(weight.dtype), weight, None if base.bias is None else base.bias.to(weight.dtype))


def find_linear_shapes(loaded: LoadedModel) -> dict[str, tuple[int, int]]:
    """Name every kind of linear layer in the decoder's blocks with its (out, in); the head is not one of them."""
    return {
        name.rsplit(".", 1)[-1]: (module.out_features, module.in_features)
        for name, module in loaded.decoder.named_modules()
        if isinstance(module, nn.Linear)
    }


def _jsonable(value: Any) -> Any:  # noqa: ANN401  PEFT's fields
    return sorted(value) if isinstance(value, set) else value


def open_adapter(folder: Path, expected_base_digest: str) -> tuple[LoraConfig, dict[str, Tensor]]:
    """Read a saved adapter.

    Args:
        folder: What :meth:`LoraMethod.save` wrote.
        expected_base_digest: Digest of the base's weights.

    Returns:
        PEFT's configuration and the thin matrices under PEFT's names.

    Raises:
        ModelError: E-ENG-005 when it was trained on another base, E-ENG-009 when files are missing or damaged.
    """
    fields, state, trained_on = _read(folder)
    if trained_on and trained_on != expected_base_digest:
        raise ModelError(
            "E-ENG-005",
            "the adapter was trained on another base, whose weights differ",
            got=f"base {expected_base_digest[:12]}",
            origin=str(folder),
            needs=f"base {trained_on[:12]} ({fields.get('base_model_name_or_path') or 'unnamed'})",
            fix="name the base that the adapter was trained on",
        )
    return _make_config(fields), state


def _make_config(fields: dict[str, Any]) -> LoraConfig:
    known = LoraConfig.__dataclass_fields__.keys() - {"base_model_name_or_path"}
    return LoraConfig(**{name: value for name, value in fields.items() if name in known})


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """Return the adapter's fields, its tensors and the digest of its base, empty where it names none."""
    try:
        fields = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
        with safe_open(folder / WEIGHTS_NAME, framework="pt") as file:
            trained_on = (file.metadata() or {}).get(DIGEST_KEY, "")
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(
            "E-ENG-009",
            "the adapter cannot be read",
            got=str(error),
            origin=str(folder),
            allowed=f"{CONFIG_NAME} and {WEIGHTS_NAME}",
            fix="luthier train RECIPE --resume",
        ) from error
    if not isinstance(fields, dict) or fields.get("peft_type") != "LORA":
        raise ModelError(
            "E-ENG-009",
            "the folder holds no LoRA adapter",
            got=fields.get("peft_type") if isinstance(fields, dict) else fields,
            origin=str(folder),
            allowed="LORA",
            fix="use the method that made it",
        )
    return fields, state, trained_on


PLUGIN = LoraMethod()
