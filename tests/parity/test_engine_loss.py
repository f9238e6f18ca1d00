"""The chunked loss against torch's cross entropy over whole logits, values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from luthier.instruments.engine.loss import HeadForm, choose_chunk_tokens, chunked_logps, chunked_nll, compute_logits

pytestmark = pytest.mark.parity
FORMS = {
    "plain": HeadForm(),
    "scaled": HeadForm(scale=0.125),
    "capped": HeadForm(softcap=3.0),
    "scaled and capped": HeadForm(scale=2.0, softcap=5.0),
}


def _inputs(*, dtype: torch.dtype = torch.float64, trained_head: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden_MD = torch.randn(23, 12, generator=generator, dtype=dtype).requires_grad_()
    head_VD = torch.randn(50, 12, generator=generator, dtype=dtype).requires_grad_(trained_head)
    targets_M = torch.randint(50, (23,), generator=generator)
    weights_M = torch.rand(23, generator=generator, dtype=dtype)
    return hidden_MD, head_VD, targets_M, weights_M


def _theirs(hidden_MD: Tensor, head_VD: Tensor, targets_M: Tensor, weights_M: Tensor, form: HeadForm) -> Tensor:
    logits_MV = linear(hidden_MD, head_VD) * form.scale
    if form.softcap is not None:
        logits_MV = form.softcap * torch.tanh(logits_MV / form.softcap)
    return (cross_entropy(logits_MV, targets_M, reduction="none") * weights_M).sum()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("trained_head", [False, True], ids=["frozen head", "trained head"])
@pytest.mark.parametrize("chunk_tokens", [1, 7, 23, 100])
def test_chunked_nll_equals_cross_entropy(form: str, trained_head: bool, chunk_tokens: int) -> None:
    hidden_MD, head_VD, targets_M, weights_M = _inputs(trained_head=trained_head)
    wanted = [hidden_MD, head_VD] if trained_head else [hidden_MD]
    theirs = _theirs(hidden_MD, head_VD, targets_M, weights_M, FORMS[form])
    their_gradients = torch.autograd.grad(theirs, wanted)

    ours, total = chunked_nll(hidden_MD, head_VD, targets_M, weights_M, chunk_tokens, form=FORMS[form])
    our_gradients = torch.autograd.grad(ours, wanted)

    # float64 sums in another order: a few units in the last place
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(our_gradients, their_gradients, rtol=1e-12, atol=1e-13)
    assert total.item() == pytest.approx(weights_M.sum().item())


@pytest.mark.parametrize("trained_head", [False, True], ids=["frozen head", "trained head"])
def test_gradients_of_any_function_of_the_log_probabilities_pass_gradcheck(trained_head: bool) -> None:
    hidden_MD, head_VD, targets_M, _ = _inputs(trained_head=trained_head)

    def objective(*trained: Tensor) -> Tensor:
        hidden, head = (*trained, head_VD)[:2]
        return torch.sigmoid(chunked_logps(hidden, head, targets_M, chunk_tokens=5)).prod()

    inputs = (hidden_MD, head_VD) if trained_head else (hidden_MD,)
    assert torch.autograd.gradcheck(objective, inputs)


def test_softmax_is_float32_when_products_are_bfloat16() -> None:
    """Under autocast only the products may lose digits: rounding logits near 5 to 8 bits moves a loss by up to 2e-2."""
    hidden_MD, head_VD, targets_M, weights_M = _inputs(dtype=torch.float32, trained_head=False)
    exact = _theirs(hidden_MD, head_VD, targets_M, weights_M, HeadForm())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough, _ = chunked_nll(hidden_MD, head_VD, targets_M, weights_M, 8)
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=1e-2)
    (gradient_MD,) = torch.autograd.grad(rough, [hidden_MD])
    assert gradient_MD.dtype == torch.float32
    assert compute_logits(hidden_MD, head_VD.bfloat16()).dtype == torch.float32


def test_no_targets_give_zero_and_no_gradient() -> None:
    hidden_MD, head_VD, targets_M, weights_M = _inputs(trained_head=True)
    nll, total = chunked_nll(hidden_MD[:0], head_VD, targets_M[:0], weights_M[:0])
    nll.backward()
    assert (nll.item(), total.item()) == (0.0, 0.0)
    assert head_VD.grad is None or not head_VD.grad.any()


def test_logits_of_the_whole_batch_never_exist() -> None:
    """With a vocabulary of 50,000 no tensor larger than one chunk's logits is made: counted at every allocation."""
    biggest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal biggest
            result = function(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, tuple | list) else [result]:
                if isinstance(tensor, Tensor):
                    biggest = max(biggest, tensor.numel())
            return result

    hidden_MD = torch.randn(512, 4, requires_grad=True)
    head_VD = torch.randn(50_000, 4)
    chunk = choose_chunk_tokens(50_000)
    with Watch():
        nll, _ = chunked_nll(hidden_MD, head_VD, torch.zeros(512, dtype=torch.long), torch.ones(512), chunk)
        nll.backward()
    assert chunk < 512
    assert biggest == max(chunk * 50_000, head_VD.numel())
