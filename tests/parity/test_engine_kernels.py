"""Our kernels against torch's autograd in float64, and what happens on machines that cannot have them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import silu

from luthier.foundation.core.user_cache import find_user_cache
from luthier.instruments.engine import fused, fused_attention, loss
from luthier.instruments.engine.attention import attend_forest
from luthier.instruments.engine.kernels import build, calls
from luthier.instruments.engine.kernels.calls import Kernels, load_kernels
from luthier.instruments.engine.kernels.proof import disproves
from luthier.instruments.engine.segments import Forest

pytestmark = pytest.mark.parity
HALF_STEP = 1.01 * 2**-8  # rounding to the eight digits of bfloat16
SWITCH = {build.SWITCH: "off"}


@pytest.fixture(name="kernels", scope="module")
def _kernels() -> Kernels:
    kernels = load_kernels()
    if kernels is None:
        pytest.skip(f"this machine has no kernels: {build.build().why_not}")
    return kernels


def _make(*shape: int, seed: int, spread: float = 1.0) -> Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * spread).bfloat16()


def _is_near(ours: Tensor, exact: Tensor) -> bool:
    distance = (ours.double() - exact).abs()
    return bool((distance <= HALF_STEP * exact.abs() + 1e-6 * exact.abs().max()).all())


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 40), width=st.integers(1, 200), offset=st.sampled_from([0.0, 1.0]), seed=st.integers(0, 99))
def test_a_norm_and_its_gradient_are_those_of_autograd(
    kernels: Kernels, rows: int, width: int, offset: float, seed: int
) -> None:
    hidden = _make(rows, width, seed=seed, spread=3.0).float() + 0.1
    weight, grad = _make(width, seed=seed + 1).float(), _make(rows, width, seed=seed + 2)
    exact = hidden.double().requires_grad_()
    normed = exact * (exact.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * (weight.double() + offset)
    output, scale = kernels.norm_forward(hidden, weight, offset=offset, eps=1e-5)
    assert _is_near(output, normed.detach())
    (expected,) = torch.autograd.grad((normed * grad.double()).sum(), exact)
    ours = kernels.norm_backward(grad, hidden, weight, scale, offset=offset)
    # float32 on both sides of a difference that may cancel
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=2e-6 * float(grad.abs().max() * 10))


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 500), spread=st.sampled_from([0.01, 1.0, 30.0]), seed=st.integers(0, 99))
def test_a_gate_and_its_gradients_are_those_of_autograd(kernels: Kernels, count: int, spread: float, seed: int) -> None:
    gate, up, grad = (_make(count, seed=seed + part, spread=spread) for part in range(3))
    wide = [gate.double().requires_grad_(), up.double().requires_grad_()]
    product = silu(wide[0]) * wide[1]
    assert _is_near(kernels.swiglu_forward(gate, up), product.detach())
    expected = torch.autograd.grad((product * grad.double()).sum(), wide)
    for ours, theirs in zip(kernels.swiglu_backward(grad, gate, up), expected, strict=True):
        assert _is_near(ours, theirs)


@pytest.mark.usefixtures("kernels")
@settings(max_examples=20, deadline=None)
@given(tokens=st.integers(1, 20), heads=st.integers(1, 5), half=st.sampled_from([1, 4, 20, 32]), seed=st.integers(0, 9))
def test_heads_are_turned_by_their_angles_and_back(tokens: int, heads: int, half: int, seed: int) -> None:
    stream = _make(1, tokens, heads, 2 * half, seed=seed)
    angles = torch.randn(1, tokens, half, generator=torch.Generator().manual_seed(seed))
    cos, sin = (torch.cat([part, part], -1) for part in (angles.cos(), angles.sin()))
    plane = torch.view_as_complex(torch.stack(stream.double().chunk(2, -1), -1))
    turned = plane * torch.polar(torch.ones(()).double(), angles.double())[:, :, None]
    expected = torch.cat([turned.real, turned.imag], -1).transpose(1, 2)
    heads_1NHK = stream.clone().requires_grad_()
    ours = fused_attention.rotate(heads_1NHK, cos, sin)
    greatest = float(stream.abs().max())
    torch.testing.assert_close(ours.double(), expected, rtol=HALF_STEP, atol=1e-5 * greatest)
    (back,) = torch.autograd.grad(ours, heads_1NHK, ours.detach())
    torch.testing.assert_close(back.double(), stream.double(), rtol=0, atol=3 * HALF_STEP * greatest)


@settings(max_examples=20, deadline=None)
@given(
    before=st.sampled_from([0, 64, 192]),
    num=st.sampled_from([64, 128, 192]),
    width=st.sampled_from([2, 16, 64, 80]),
    shared=st.sampled_from([1, 3]),
    spread=st.sampled_from([1.0, 6.0]),
    seed=st.integers(0, 9),
)
def test_attention_weights_are_a_softmax_of_unrounded_scores(
    kernels: Kernels, before: int, num: int, width: int, shared: int, spread: float, seed: int
) -> None:
    seen = before + num
    query, key = _make(2, shared, num, width, seed=seed, spread=spread), _make(2, seen, width, seed=seed + 1)
    scores = query.double() @ key.double()[:, None].transpose(-1, -2) * 0.3
    is_later = torch.ones(num, seen, dtype=torch.bool).triu(before + 1)
    exact = torch.softmax(scores.masked_fill(is_later, float("-inf")), -1)
    packed = kernels.pack_keys(key)
    for start in range(0, num, 64):
        block = slice(start, start + 64)
        upto = before + block.stop
        ours = kernels.weigh(query, packed, block, seen=upto, num_before=before, scaling=0.3)
        assert _is_near(ours, exact[:, :, block, :upto])
        assert not ours[is_later[block, :upto].expand_as(ours)].any()


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 30), vocabulary=st.integers(2, 700), spread=st.sampled_from([0.1, 20.0]), seed=st.integers(0, 9)
)
def test_log_probabilities_and_their_gradient_are_those_of_autograd(
    kernels: Kernels, rows: int, vocabulary: int, spread: float, seed: int
) -> None:
    products = _make(rows, vocabulary, seed=seed, spread=spread)
    targets = torch.randint(vocabulary, (rows,), generator=torch.Generator().manual_seed(seed))
    wide = products.double().requires_grad_()
    logps = torch.log_softmax(wide, -1).gather(1, targets[:, None])[:, 0]
    (gradient,) = torch.autograd.grad(logps.sum(), wide)
    before = products.clone()
    alone = kernels.take_logps(products, targets, keeps_gradient=False)
    assert torch.equal(products, before)
    beside = kernels.take_logps(products, targets, keeps_gradient=True)
    assert torch.equal(alone, beside), "a model that is still its base gains nothing"
    torch.testing.assert_close(alone.double(), logps.detach(), rtol=1e-6, atol=2e-6 * (1 + spread))
    # 1 - p loses digits in float32 where p is nearly 1
    torch.testing.assert_close(products.double(), gradient, rtol=2 * HALF_STEP, atol=1e-6 * (1 + spread))


def test_what_is_no_number_stays_so_and_what_is_infinite_hides_nothing(kernels: Kernels) -> None:
    bad = torch.tensor([1.0, float("nan"), 2.0]).bfloat16()
    fine = torch.ones(3).bfloat16()
    assert kernels.swiglu_forward(bad, fine).isnan().tolist() == [False, True, False]
    assert kernels.norm_forward(bad.float()[None], fine.float(), offset=0.0, eps=1e-6)[0].isnan().all()
    assert kernels.take_logps(bad[None].clone(), torch.tensor([0]), keeps_gradient=False).isnan().all()
    key = torch.ones(1, 64, 4).bfloat16()
    query = torch.ones(1, 1, 64, 4).bfloat16()
    query[0, 0, 7, 0] = float("nan")
    weights = kernels.weigh(query, kernels.pack_keys(key), slice(0, 64), seen=64, num_before=0, scaling=1.0)
    assert weights.isnan().any(-1).flatten().nonzero().flatten().tolist() == [7]
    steep = torch.tensor([-300.0, 300.0, 0.0]).bfloat16()
    assert kernels.swiglu_forward(steep, fine).tolist()[1:] == [300.0, 0.0]
    assert abs(float(kernels.swiglu_forward(steep, fine)[0])) < 1e-30


def test_results_do_not_depend_on_the_number_of_threads(kernels: Kernels) -> None:
    query, key = _make(2, 3, 128, 64, seed=0), _make(2, 128, 64, seed=1)
    gate, up = _make(300, 601, seed=2), _make(300, 601, seed=3)
    outcomes = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            weights = kernels.weigh(query, kernels.pack_keys(key), slice(0, 128), seen=128, num_before=0, scaling=0.1)
            outcomes.append([weights, kernels.swiglu_forward(gate, up), *kernels.swiglu_backward(gate, up, gate)])
    finally:
        torch.set_num_threads(threads)
    for other in outcomes[1:]:
        assert all(torch.equal(a, b) for a, b in zip(outcomes[0], other, strict=True))


def test_callers_take_the_kernels_where_they_can_and_torch_where_not(
    kernels: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same numbers either way, to a rounding; and other precisions never reach a kernel."""
    hidden, weight = _make(5, 64, seed=0).float(), _make(64, seed=1).float()
    norm = torch.nn.RMSNorm(64)
    norm.weight.data.copy_(weight)
    norm.requires_grad_(requires_grad=False)
    head, ids = _make(90, 64, seed=2), torch.arange(5)
    outcomes = {}
    for kind in ("kernels", "torch"):
        if kind == "torch":
            monkeypatch.setattr(calls, "load_kernels", lambda: None)
        own = hidden.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            normed = fused._norm_forward(norm, 0.0, 1e-6, own)
            gated = fused._SwiGLU.apply(normed, normed * 2)
            logps = loss.chunked_logps(gated, head, ids)
        logps.sum().backward()
        outcomes[kind] = [logps.detach(), own.grad]
    for ours, theirs in zip(*outcomes.values(), strict=True):
        assert not torch.equal(ours, theirs), "the kernels were called"
        assert float((ours - theirs).norm() / theirs.norm()) < 1e-2
    assert calls.find_kernels(narrow=(hidden,)) is None
    monkeypatch.undo()
    assert calls.find_kernels(narrow=(head,), wide=(hidden,)) is kernels
    assert calls.find_kernels(narrow=(hidden,)) is None
    assert calls.find_kernels(wide=(hidden.double(),)) is None
    assert calls.find_kernels(narrow=(head.T,)) is None


def _compiler(folder: Path, script: str) -> str:
    path = folder / "odd-cc"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return str(path)


@pytest.mark.parametrize(
    ("script", "why_not"),
    [
        (
            "echo '#define __GNUC__ 4'; echo '#define __clang__ 1'",
            "the compiler is not GCC, with whose threads torch's processor builds work",
        ),
        ("echo '#define __GNUC__ 12'; echo '#define __LP64__ 1'", "the processor has no AVX512-BF16"),
        ("echo '#define __GNUC__ 12'; echo '#define __AVX512BF16__ 1'", "the compiler is not one for 64 bits"),
        ("echo '#define'", "the compiler is not GCC, with whose threads torch's processor builds work"),
        ("exit 1", "compiling failed: CalledProcessError"),
    ],
)
def test_a_machine_that_cannot_have_kernels_says_why(script: str, why_not: str, tmp_path: Path) -> None:
    found = build.build({"CC": _compiler(tmp_path, script), "LUTHIER_CACHE": str(tmp_path / "cache")})
    assert found.library is None
    assert found.why_not == (why_not if sys.platform == "linux" else "they are for Linux")
    assert not (tmp_path / "cache").exists()


def test_without_a_compiler_or_with_the_switch_there_are_none(tmp_path: Path) -> None:
    without = build.build({"CC": str(tmp_path / "missing")})
    assert without.library is None
    assert without.why_not in {"no C compiler", "they are for Linux"}
    assert build.build(SWITCH) == build.Build(None, "LUTHIER_KERNELS=off", "unset LUTHIER_KERNELS")
    assert build.describe(SWITCH) == "none: LUTHIER_KERNELS=off"
    unreadable = {"CC": 'gcc "'}
    assert build.build(unreadable).library is None
    assert build.describe(unreadable).startswith("none: ")


@pytest.mark.usefixtures("kernels")
def test_a_build_is_kept_for_the_next_process_and_made_again_when_it_cannot_be_trusted(tmp_path: Path) -> None:
    counted = _compiler(tmp_path, f'echo "$@" >> {shlex.quote(str(tmp_path / "calls"))}\nexec gcc "$@"')
    variables = {"CC": counted, "LUTHIER_CACHE": str(tmp_path / "cache")}

    def count_compilations() -> int:
        assert build.build(variables).library is not None
        return (tmp_path / "calls").read_text().count("-shared")

    assert [count_compilations(), count_compilations()] == [1, 1]
    (kept,) = (find_user_cache(variables) / "kernels").iterdir()
    assert kept.suffix == ".so"
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.chmod(0o620)  # somebody else could have written it
    assert [count_compilations(), count_compilations()] == [2, 2]
    damaged = tmp_path / "other" / "kernels" / kept.name
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(kept.read_bytes()[:100])
    damaged.chmod(0o600)
    variables["LUTHIER_CACHE"] = str(tmp_path / "other")
    assert [count_compilations(), count_compilations()] == [3, 3]
    assert damaged.read_bytes() == kept.read_bytes()


@pytest.mark.usefixtures("kernels")
def test_a_folder_that_others_may_write_is_not_trusted(tmp_path: Path) -> None:
    variables = {"LUTHIER_CACHE": str(tmp_path)}
    assert build.build(variables).library is not None
    (kept,) = (tmp_path / "kernels").iterdir()
    assert kept.name == f"{build.describe(variables)}.so"
    assert build.describe({"LUTHIER_CACHE": str(tmp_path / "empty")}) == f"{kept.stem}, not in the cache"
    assert build._load_cached(kept) is not None
    kept.parent.chmod(0o777)
    assert build._load_cached(kept) is None
    kept.parent.chmod(0o700)
    elsewhere = kept.rename(tmp_path / "elsewhere.so")
    elsewhere.chmod(0o666)
    kept.symlink_to(elsewhere)
    assert build._load_cached(kept) is None


@pytest.mark.usefixtures("kernels")
def test_a_user_without_a_home_has_kernels_all_the_same() -> None:
    assert build.build({"LUTHIER_CACHE": "~nobody-of-this-name/cache"}).library is not None


def test_a_default_precision_of_somebodys_notebook_reaches_no_kernel(kernels: Kernels) -> None:
    hidden, weight = _make(6, 70, seed=0).float(), _make(70, seed=1).float()
    before = kernels.norm_forward(hidden, weight, offset=0.0, eps=1e-6)
    for dtype in (torch.bfloat16, torch.float64):
        torch.set_default_dtype(dtype)
        try:
            after = kernels.norm_forward(hidden, weight, offset=0.0, eps=1e-6)
            logps = kernels.take_logps(_make(3, 5, seed=2), torch.arange(3), keeps_gradient=False)
            assert not disproves(kernels)
        finally:
            torch.set_default_dtype(torch.float32)
        assert logps.dtype == torch.float32
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_what_does_not_fit_is_refused_before_a_kernel_sees_it(kernels: Kernels) -> None:
    narrow, wide = _make(8, 64, seed=0), _make(8, 64, seed=1).float()
    for target in (-100, 64):
        with pytest.raises(ValueError, match="known targets"):
            loss.chunked_logps(narrow, _make(64, 64, seed=2), torch.full((8,), target))
    calls_that_do_not_fit = [
        lambda: kernels.take_logps(narrow, torch.zeros(8, dtype=torch.int32), keeps_gradient=False),
        lambda: kernels.take_logps(narrow, torch.zeros(7, dtype=torch.int64), keeps_gradient=False),
        lambda: kernels.norm_forward(wide, wide[0, :1], offset=0.0, eps=1e-6),
        lambda: kernels.norm_backward(narrow[:4], wide, wide[0], wide[:, :1].contiguous(), offset=0.0),
        lambda: kernels.swiglu_forward(narrow, narrow[:4]),
        lambda: kernels.swiglu_backward(narrow[:4], narrow, narrow),
        lambda: kernels.rotate(narrow[None, :, None], wide[None, :, None], wide[None, :, None], narrow, sense=1.0),
        lambda: kernels.pack_keys(narrow[None]),
    ]
    for call in calls_that_do_not_fit:
        with pytest.raises(ValueError, match="a kernel takes"):
            call()
    query, packed = _make(1, 1, 64, 8, seed=3), kernels.pack_keys(_make(1, 64, 8, seed=4))
    for block, seen, before in (
        (slice(0, 64), 60, 0),
        (slice(0, 62), 64, 0),
        (slice(0, 64), 64, 4),
        (slice(64, 128), 64, 0),
    ):
        with pytest.raises(ValueError, match="a kernel takes"):
            kernels.weigh(query, packed, block, seen=seen, num_before=before, scaling=1.0)


@pytest.mark.usefixtures("kernels")
def test_a_rows_numbers_do_not_depend_on_what_lies_beside_it() -> None:
    """A segment of whole tiles is a view of its stream: dense alone, not so beside another."""
    query, key, value = (_make(1, heads, 188, 32, seed=heads) for heads in (6, 2, 2))
    alone = attend_forest(*(t[:, :, :128] for t in (query, key, value)), Forest.of_lengths(128), scaling=0.2)
    beside = attend_forest(query, key, value, Forest.of_lengths(128, 60), scaling=0.2)
    assert torch.equal(alone, beside[:, :, :128])


@pytest.mark.usefixtures("kernels")
def test_a_cache_that_cannot_be_written_costs_the_next_process_a_build(tmp_path: Path) -> None:
    (tmp_path / "kernels").write_text("a file where the folder should be")
    assert build.build({"LUTHIER_CACHE": str(tmp_path)}).library is not None


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("float factor = 1.0f / sqrtf", "float factor = 1.01f / sqrtf"),
        ("- xi[j] * factor * dot) * factor", "+ xi[j] * factor * dot) * factor"),
        ("widen(up[i]));\n", "widen(gate[i]));\n"),
        ("(1.0f + g * (1.0f - sigmoid))", "(1.0f + g * sigmoid)"),
        ("low * c[k] - high * turn", "low * c[k] + high * turn"),
        ("keys = num_before + start + first + 1", "keys = num_before + start + first"),
        ("top + logf(sum)", "top - logf(sum)"),
        ("row[targets[i]] = narrow(1.0f -", "row[targets[i]] = narrow(0.0f -"),
        ("memset(weights + keys, 0,", "memset(weights + keys, 1,"),
        ("(narrow_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)", "(narrow_t)(bits >> 16)"),
    ],
)
def test_a_library_that_computes_something_else_is_found_at_the_door(
    right: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = build.SOURCE.read_text()
    assert text.count(right) == 1
    (tmp_path / "kernels.c").write_text(text.replace(right, wrong))
    monkeypatch.setattr(build, "SOURCE", tmp_path / "kernels.c")
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path))
    library = build.build().library
    assert library is not None
    assert disproves(Kernels(library))
    with pytest.warns(UserWarning, match="compute something else"):
        assert load_kernels.__wrapped__() is None


def test_the_switch_reaches_a_process(tmp_path: Path) -> None:
    code = "from luthier.instruments.engine.kernels.calls import load_kernels; print(load_kernels())"
    variables = {**os.environ, **SWITCH, "LUTHIER_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=variables)
    assert done.stdout.strip() == "None"
