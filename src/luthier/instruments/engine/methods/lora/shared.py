"""Several LoRA adapters on one base at once: the base's product runs for all rows, each adapter's for its own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from peft.utils import set_peft_model_state_dict
from torch import Tensor, nn
from torch.nn.functional import linear

from luthier.foundation.core.errors import ModelError
from luthier.instruments.engine.load import LoadedModel

OpenAdapter = Callable[[Path, str], tuple[LoraConfig, dict[str, Tensor]]]


def is_plain(config: LoraConfig) -> bool:
    """Say whether an adapter adds nothing but the scaled product of two thin matrices to linear layers."""
    return config.bias == "none" and not any(
        getattr(config, name, None)
        for name in (
            "use_dora",
            "lora_bias",
            "fan_in_fan_out",
            "modules_to_save",
            "layer_replication",
            "trainable_token_indices",
            "target_parameters",
            "alora_invocation_tokens",
        )
    )


class SharedLora:
    """PEFT's layers hold the matrices of all adapters; which rows use which is said before each pass."""

    def __init__(self, loaded: LoadedModel, open_adapter: OpenAdapter) -> None:
        """Start with the bare base.

        Args:
            loaded: The base; nothing was built on it yet.
            open_adapter: Reads an adapter's folder and checks its base.
        """
        self._loaded = loaded
        self._open = open_adapter
        self._num_adapters = 0
        self._rows: dict[str, Tensor | None] = {}

    def add(self, folder: Path, expected_base_digest: str) -> str:
        """Put one more adapter on the base.

        Raises:
            ModelError: E-ENG-005 when it was trained on another base, E-ENG-009 when files are missing or damaged.
        """
        config, state = self._open(folder, expected_base_digest)
        config.inference_mode = True
        key = f"adapter{self._num_adapters}"
        with warnings.catch_warnings():
            # PEFT 0.21 asks transformers 5.23 a question by its old name: huggingface/peft, save_and_load
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            if self._loaded.adapter is None:
                self._loaded.adapter = get_peft_model(self._loaded.model, config, adapter_name=key)
            else:
                self._loaded.adapter.add_adapter(key, config)
        _fill(self._loaded.adapter, key, state, folder)
        self._num_adapters += 1
        self._loaded.model.requires_grad_(requires_grad=False)
        self._loaded.model.eval()
        for module in self._loaded.model.modules():
            if type(module) is Linear:
                module.forward = partial(self._forward, module)
        return key

    @contextmanager
    def using(self, keys: Sequence[str]) -> Iterator[None]:
        """Let row i of a pass use adapter ``keys[i]``; the empty key is the base itself."""
        chosen = set(keys) - {""}
        everyone = len(chosen) == 1 and "" not in keys
        self._rows = {
            key: None if everyone else torch.tensor([row for row, of_row in enumerate(keys) if of_row == key])
            for key in sorted(chosen)
        }
        try:
            yield
        finally:
            self._rows = {}

    def _forward(self, layer: Any, x: Tensor) -> Tensor:  # noqa: ANN401  PEFT's layer
        output: Tensor = layer.base_layer(x)
        for key, rows in self._rows.items():
            if key not in layer.lora_A:
                continue
            down_RI, up_OR = layer.lora_A[key].weight, layer.lora_B[key].weight
            own = x if rows is None else x[rows]
            image = linear(own.to(output.dtype), down_RI.to(output.dtype))
            update = linear(image, up_OR.to(output.dtype)).mul_(layer.scaling[key])
            output = output.add_(update) if rows is None else output.index_add_(0, rows, update)
        return output


def _fill(model: nn.Module, key: str, state: dict[str, Tensor], folder: Path) -> None:
    """Put an adapter's tensors into its layers, all of them and no other."""
    names = {
        f"{name}.{part}.weight": matrices[key].weight
        for name, module in model.named_modules()
        if type(module) is Linear
        for part, matrices in (("lora_A", module.lora_A), ("lora_B", module.lora_B))
        if key in matrices
    }
    is_fitting = names.keys() == state.keys() and all(names[name].shape == state[name].shape for name in names)
    if not is_fitting:
        different = sorted(names.keys() ^ state.keys())
        raise ModelError(
            "E-ENG-009",
            "the saved adapter does not fit this model",
            got=", ".join(different[:3]) or "other shapes",
            origin=str(folder),
            allowed=f"{len(names)} tensors",
            fix="name the base that the adapter was trained on",
        )
    set_peft_model_state_dict(model, state, adapter_name=key)
