"""AdamW by name: the state that comes back is the one that was saved, and strangers are refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from luthier.foundation.core.errors import TrainError
from luthier.stages.train.optimizer import build_optimizer, collect_state, restore_state


def make_parameters() -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"layer.weight": (3, 4), "layer.bias": (3,), "norm.weight": (4,)}
    return {name: nn.Parameter(torch.rand(shape, generator=generator)) for name, shape in shapes.items()}


def take_steps(optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter], num_steps: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    for _ in range(num_steps):
        for parameter in parameters.values():
            parameter.grad = torch.sin(parameter.detach() * 3)
        optimizer.step()


def test_restored_state_goes_on_bit_for_bit() -> None:
    straight, stopped = make_parameters(), make_parameters()
    take_steps(build_optimizer(straight, weight_decay=0.1), straight, 5)
    first = build_optimizer(stopped, weight_decay=0.1)
    take_steps(first, stopped, 2)
    second = build_optimizer(stopped, weight_decay=0.1)
    restore_state(second, stopped, {name: t.clone() for name, t in collect_state(first, stopped).items()})
    take_steps(second, stopped, 3)
    assert all(torch.equal(straight[name], stopped[name]) for name in straight)


def test_only_matrices_are_decayed() -> None:
    parameters = make_parameters()
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    optimizer = build_optimizer(parameters, weight_decay=0.5)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(parameters["layer.weight"].detach(), before["layer.weight"] * (1 - 0.1 * 0.5))
    assert torch.equal(parameters["layer.bias"], before["layer.bias"])
    assert torch.equal(parameters["norm.weight"], before["norm.weight"])


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_a_state_with_other_names_is_refused_whole(change: str) -> None:
    parameters = make_parameters()
    optimizer = build_optimizer(parameters, weight_decay=0.0)
    take_steps(optimizer, parameters, 1)
    state = collect_state(optimizer, parameters)
    if change == "missing":
        state = {name: tensor for name, tensor in state.items() if not name.startswith("norm")}
    else:
        state["stranger/exp_avg"] = torch.zeros(1)
    fresh = build_optimizer(parameters, weight_decay=0.0)
    with pytest.raises(TrainError) as caught:
        restore_state(fresh, parameters, state)
    problem = caught.value.problems[0]
    assert problem.code == "E-TRN-005"
    assert ("norm.weight" if change == "missing" else "stranger") in problem.got
    assert not fresh.state
