"""Precision is measured, computed in on request, and never left switched on; seeds reach every generator."""

from __future__ import annotations

import random

import numpy as np
import torch

from luthier.instruments.engine.determinism import seed_everything
from luthier.instruments.engine.precision import PAYS_FROM, PrecisionMeasurement, autocast, measure_precision


def test_a_measurement_names_the_precision_that_pays() -> None:
    assert PrecisionMeasurement(100.0, 100.0 * PAYS_FROM, 0.1).best == "bf16"
    assert PrecisionMeasurement(100.0, 99.0 * PAYS_FROM, 0.1).best == "fp32"
    measured = measure_precision()
    assert measured.fp32_gflops > 0
    assert measured.bf16_gflops > 0
    assert measured.best in {"fp32", "bf16"}


def test_autocast_computes_products_in_bfloat16_inside_only() -> None:
    left = torch.randn(4, 4)
    with autocast("bf16"):
        assert (left @ left).dtype == torch.bfloat16
    assert (left @ left).dtype == torch.float32
    with autocast("fp32"):
        assert (left @ left).dtype == torch.float32


def test_one_seed_repeats_python_numpy_and_torch() -> None:
    def draw() -> tuple[float, float, float]:
        seed_everything(2**62 + 11)
        return random.random(), float(np.random.random()), float(torch.rand(()))  # noqa: S311  not for secrets

    try:
        assert draw() == draw()
    finally:
        torch.use_deterministic_algorithms(mode=False)
