"""Numbers of the plan, checked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from luthier.foundation.core.errors import PlanError
from luthier.foundation.registry import load_config
from luthier.foundation.schema.model import ModelShape
from luthier.foundation.schema.sections import PlanSection
from luthier.instruments.engine import block_attention
from luthier.instruments.text.prefixes import count_distinct_tokens
from luthier.stages.plan.examples import choose_num_examples
from luthier.stages.plan.hyperparameters import choose_batch_tokens, choose_learning_rate, count_every
from luthier.stages.plan.machine_speed import Arithmetic, MachineSpeed
from luthier.stages.plan.memory import (
    BLOCK_QUERIES,
    KEPT_KEYS,
    choose_saved_factor,
    count_kept_keys,
    count_saved_bytes,
    estimate_memory,
)
from luthier.stages.plan.packs import Room, choose_pack, prefer_pack_tokens
from luthier.stages.plan.throughput import Timer, Work, count_flops, estimate_seconds

FP32 = Arithmetic("fp32", 100.0)
SHAPE = ModelShape(
    architecture="LlamaForCausalLM",
    num_parameters=1000 * 64 + 2 * 40_000,
    vocabulary=1000,
    width=64,
    num_layers=2,
    num_heads=4,
    num_key_value_heads=2,
    head_width=16,
    feed_forward=128,
    max_positions=512,
    is_tied=True,
    linear_shapes={"q_proj": (64, 64), "down_proj": (64, 128)},
)


def test_auto_batch_is_sixteen_rows_of_mean_length() -> None:
    """640 rows of 50 tokens, 3 epochs: 640 x 3 / 40 = 48 rows a step would do, so the full 16: 800 tokens."""
    tokens, reason = choose_batch_tokens("auto", [50] * 640, epochs=3)
    assert tokens == 800
    assert "16 rows" in reason.reason


def test_few_rows_get_smaller_steps_but_never_below_four_rows() -> None:
    """100 rows, 3 epochs: 100 x 3 / 40 = 7 rows a step; 20 rows: 1.5, lifted to 4; the longest row always fits."""
    assert choose_batch_tokens("auto", [50] * 100, epochs=3)[0] == 350
    assert choose_batch_tokens("auto", [50] * 20, epochs=3)[0] == 200
    assert choose_batch_tokens("auto", [10] * 19 + [500], epochs=3)[0] == 500
    assert choose_batch_tokens(123, [50] * 20, epochs=3)[0] == 123


def test_learning_rate_is_the_recipes_or_the_methods() -> None:
    method = load_config("methods", "lora")()
    assert choose_learning_rate(0.002, method, SHAPE)[0] == 0.002
    rate, reason = choose_learning_rate("auto", method, SHAPE)
    assert rate == method.default_learning_rate(SHAPE)[0]
    assert reason.reason


def test_things_happen_so_often_and_at_the_end() -> None:
    assert [count_every(10, times) for times in (0, 1, 3, 4, 100)] == [0, 10, 4, 3, 1]


def test_rows_are_limited_by_what_is_there_asked_and_fits_the_time() -> None:
    """2 minutes at 0.5 s a row and 3 epochs hold 120 / 1.5 = 80 rows."""
    plan = PlanSection(minutes=2)
    assert choose_num_examples(plan, available=1000, seconds_an_epoch_row=0.5, epochs=3)[0] == 80
    assert choose_num_examples(plan, available=50, seconds_an_epoch_row=0.5, epochs=3)[0] == 50
    both = PlanSection(minutes=2, num_examples=30)
    number, reason = choose_num_examples(both, available=1000, seconds_an_epoch_row=0.5, epochs=3)
    assert number == 30
    assert "num_examples" in reason.reason


def test_no_rows_and_no_time_are_errors_with_a_fix() -> None:
    with pytest.raises(PlanError, match="E-PLN-003"):
        choose_num_examples(PlanSection(), available=0, seconds_an_epoch_row=1.0, epochs=1)
    with pytest.raises(PlanError, match=r"E-PLN-006[\s\S]*fix"):
        choose_num_examples(PlanSection(minutes=0.001), available=9, seconds_an_epoch_row=60.0, epochs=1)


def test_shared_beginnings_are_counted_once() -> None:
    """[1 2 3], [1 2 4], [5]: the tree has nodes 1, 2, 3, 4, 5."""
    rows = [np.array(row, np.int32) for row in ([1, 2, 3], [5], [1, 2, 4])]
    assert count_distinct_tokens(rows) == 5
    assert count_distinct_tokens([rows[0], rows[0]]) == 3
    assert count_distinct_tokens([]) == 0


def test_flops_are_six_times_parameters_for_full_and_four_for_adapters() -> None:
    """Body 80,000 parameters, head 64,000; attention by hand: 2 layers x 2 x 10 x 64 x passes / 2."""

    def count(*, full: bool, recomputes: bool = False) -> float:
        work = Work(num_tokens=10, num_computed=1, num_trained=1, num_sequences=1)
        return count_flops(SHAPE, work, is_differentiated=True, trains_all_weights=full, more_forwards=recomputes)

    assert count(full=True) == 80_000 * 6 + 2 * 2 * 10 * 64 * 6 / 2 + 64_000 * 6
    assert count(full=False) == 80_000 * 4 + 2 * 2 * 10 * 64 * 4 / 2 + 64_000 * 4
    assert count(full=False, recomputes=True) == 80_000 * 6 + 2 * 2 * 10 * 64 * 6 / 2 + 64_000 * 4
    assert estimate_seconds(1e9, gigaflops=10.0, efficiency=0.5) == pytest.approx(0.2)


def test_what_is_only_scored_takes_a_forward_pass_and_what_is_shared_is_computed_once() -> None:
    """Two operations a weight and token, attention likewise; the base's own pass adds the blocks once more."""
    work = Work(num_tokens=10, num_computed=1, num_trained=1, num_sequences=1)
    assert count_flops(SHAPE, work, is_differentiated=False) == 80_000 * 2 + 2 * 2 * 10 * 64 + 64_000 * 2
    timer = Timer(SHAPE, 1_000, FP32)
    written_out = Work(num_tokens=4000, num_computed=4000, num_trained=40, num_sequences=40)
    shared = Work(num_tokens=4000, num_computed=1000, num_trained=40, num_sequences=40)
    assert count_flops(SHAPE, shared, is_differentiated=True) < count_flops(SHAPE, written_out, is_differentiated=True)
    assert timer.score(written_out) < timer.score(written_out, num_references=1) < timer.train(written_out)
    asked_by_all = replace(work, num_trained=10)  # ten rows ask one token of their shared beginning
    assert count_flops(SHAPE, asked_by_all, is_differentiated=False) == count_flops(
        SHAPE, work, is_differentiated=False
    )
    assert timer.save(2) == pytest.approx(2 * 12 * 1_000 / 5e8)


def test_memory_grows_with_what_is_trained_packed_and_kept() -> None:
    def total(**options: object) -> int:
        settings = {"trainable": 1000, "arithmetic": FP32, "pack_tokens": 256, "recomputes": False, **options}
        return sum(estimate_memory(SHAPE, **settings).values())

    assert total(trainable=SHAPE.num_parameters) > total()
    assert total(pack_tokens=512) > total()
    assert total(pack_tokens=4096, recomputes=True) < total(pack_tokens=4096)


def test_a_token_costs_more_in_packs_that_crumble_the_heap_and_never_less_in_larger_ones() -> None:
    factors = [choose_saved_factor(tokens) for tokens in (1, 1024, 1536, 2048, 4096)]
    assert factors[0] == factors[1] < factors[2] < factors[3] == factors[4]
    assert factors[2] == (factors[1] + factors[3]) / 2
    with_kernels = [choose_saved_factor(tokens, uses_kernels=True) for tokens in (1024, 4096)]
    assert with_kernels[0] == factors[0] < with_kernels[1] < factors[3]


def test_kernels_make_adapters_faster_in_bf16_and_nothing_in_fp32() -> None:
    speed = MachineSpeed(fp32_gflops=100.0, bf16_gflops=100.0, best="bf16", has_kernels=True)
    assert [speed.compute_in(precision).uses_kernels for precision in ("fp32", "bf16")] == [False, True]
    assert not speed.model_copy(update={"has_kernels": False}).compute_in("bf16").uses_kernels
    work = Work(num_tokens=4000, num_computed=4000, num_trained=40, num_sequences=0)
    without, with_them = (Timer(SHAPE, 1_000, Arithmetic("bf16", 100.0, uses)) for uses in (False, True))
    assert with_them.train(work) == pytest.approx(without.train(work) / 1.1)
    assert with_them.score(work) == pytest.approx(without.score(work) / 1.1)
    assert with_them.load() == without.load()


def test_attention_weights_count_for_rows_that_keep_them() -> None:
    """By hand: 256 tokens keep (256 + 128) / 2 weights each in a head; a row of 2,000 keeps none."""
    assert count_kept_keys([256]) == 192
    assert count_kept_keys([2000]) == 0
    assert count_kept_keys([256, 256, 512]) == (2 * 256 * 192 + 512 * 320) / 1024
    assert (KEPT_KEYS, BLOCK_QUERIES) == (block_attention.KEEP_KEYS, block_attention.BLOCK_QUERIES)
    more = count_saved_bytes(SHAPE, precision="bf16", kept_keys=192) - count_saved_bytes(SHAPE, precision="bf16")
    assert more == 2 * 192 * SHAPE.num_heads


def test_what_the_process_holds_already_counts() -> None:
    def total(resident: int) -> int:
        room = Room(limit_bytes=2**40, origin="test", resident_bytes=resident)
        chosen = choose_pack(SHAPE, trainable=10, arithmetic=FP32, lengths=[256], preferred=256, room=room)
        return sum(chosen.parts.values())

    assert total(7_000_000) - total(0) == 7_000_000


def test_the_largest_pack_that_fits_is_taken_then_recomputation() -> None:
    def pack(limit: int) -> tuple[int, bool]:
        chosen = choose_pack(
            SHAPE,
            trainable=1000,
            arithmetic=FP32,
            lengths=[128],
            preferred=2048,
            room=Room(limit_bytes=limit, origin="test"),
        )
        assert sum(chosen.parts.values()) <= limit
        return chosen.pack_tokens, chosen.recomputes

    def need(pack_tokens: int, *, recomputes: bool) -> int:
        parts = estimate_memory(
            SHAPE,
            trainable=1000,
            arithmetic=FP32,
            pack_tokens=pack_tokens,
            recomputes=recomputes,
            kept_keys=count_kept_keys([128]),
        )
        return sum(parts.values())

    assert pack(2 * need(2048, recomputes=False)) == (2048, False)
    assert pack(need(128, recomputes=False)) == (128, False)
    assert pack(need(128, recomputes=True)) == (128, True)


def test_steps_that_share_their_beginnings_are_packed_whole() -> None:
    """16 rows of 512 shared and 128 own tokens: 16 x 640 written out, 512 + 16 x 128 = 2,560 computed."""
    shared = np.arange(512)
    own = [np.concatenate([shared, np.arange(128) + 1000 * (n + 1)]).astype(np.int32) for n in range(16)]
    assert prefer_pack_tokens([own, own[:4]]) == 2560
    apart = [np.arange(300, dtype=np.int32) + 1000 * n for n in range(16)]
    assert prefer_pack_tokens([apart]) == 1536
    assert prefer_pack_tokens([apart[:2], apart[:1]]) == len(apart[0]) + len(apart[1]), "no step fills more"
    huge = [np.concatenate([shared, np.arange(900) + 1000 * (n + 1)]).astype(np.int32) for n in range(16)]
    assert prefer_pack_tokens([[row[:600] for row in huge]]) >= 1536
    assert prefer_pack_tokens([[*huge, *huge]]) == 4096


def test_over_budget_names_the_cheapest_change_that_fits() -> None:
    options = {"trainable": 10, "arithmetic": FP32, "pack_tokens": 256, "recomputes": True}
    needed = sum(estimate_memory(SHAPE, **options, kept_keys=count_kept_keys([512])).values())
    with pytest.raises(PlanError) as caught:
        choose_pack(
            SHAPE,
            trainable=10,
            arithmetic=FP32,
            lengths=[512],
            preferred=512,
            room=Room(limit_bytes=needed, origin="plan.memory_limit"),
        )
    problem = caught.value.problems[0]
    assert problem.code == "E-PLN-001"
    assert problem.fix == "--set train.max_length=256"
    assert "GiB" in problem.got
    assert "GiB" in problem.needs
    with pytest.raises(PlanError, match="a smaller base"):
        choose_pack(
            SHAPE, trainable=10, arithmetic=FP32, lengths=[512], preferred=512, room=Room(limit_bytes=1, origin="test")
        )
