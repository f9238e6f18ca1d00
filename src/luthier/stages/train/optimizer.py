"""AdamW over named parameters, and its state as named tensors, so that a checkpoint needs no pickle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from luthier.foundation.core.errors import TrainError

Parameters = Mapping[str, nn.Parameter]


def build_optimizer(parameters: Parameters, *, weight_decay: float) -> torch.optim.AdamW:
    """Build AdamW; biases and norms, which have one dimension, are not decayed.

    Args:
        parameters: What is trained, by name.
        weight_decay: Decoupled decay of the rest.

    Source:
        Loshchilov and Hutter 2019, arXiv:1711.05101; betas and epsilon as transformers and TRL ship them.
    """
    decayed = [parameter for parameter in parameters.values() if parameter.dim() >= 2]
    others = [parameter for parameter in parameters.values() if parameter.dim() < 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=0.0, betas=(0.9, 0.999), eps=1e-8, fused=True
    )


def collect_state(optimizer: torch.optim.Optimizer, parameters: Parameters) -> dict[str, Tensor]:
    """Return the optimizer's tensors as ``parameter/quantity``."""
    return {
        f"{name}/{quantity}": tensor
        for name, parameter in parameters.items()
        for quantity, tensor in optimizer.state[parameter].items()
    }


def restore_state(optimizer: torch.optim.Optimizer, parameters: Parameters, tensors: Mapping[str, Tensor]) -> None:
    """Put saved tensors back, each where it belongs.

    Args:
        optimizer: A fresh optimizer over the same parameters.
        parameters: What is trained, by name.
        tensors: What :func:`collect_state` returned.

    Raises:
        TrainError: E-TRN-005 when the names are not those of the parameters: nothing is ever left at a default.
    """
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, quantity = key.rpartition("/")
        by_name.setdefault(name, {})[quantity] = tensor
    check_names(by_name, parameters, what="optimizer state")
    for name, parameter in parameters.items():
        optimizer.state[parameter] = {
            quantity: tensor.to(parameter.device) for quantity, tensor in by_name[name].items()
        }


def check_names(found: Iterable[str], expected: Iterable[str], *, what: str) -> None:
    """Refuse a checkpoint whose tensors are not exactly those that the run trains.

    Raises:
        TrainError: E-TRN-005.
    """
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or extra:
        raise TrainError(
            "E-TRN-005",
            f"the checkpoint's {what} does not fit what this run trains",
            got=f"{len(missing)} missing ({', '.join(missing[:3])}), {len(extra)} unknown ({', '.join(extra[:3])})",
            allowed="the same names on both sides",
            fix="use the versions of luthier, transformers and peft that wrote it, or move the run's folder away",
        )
