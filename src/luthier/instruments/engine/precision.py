"""Whether bfloat16 pays on this machine, measured; and the context that computes in it."""

from __future__ import annotations

import json
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final, Literal

import torch

from luthier.instruments.engine.kernels.calls import load_kernels

Precision = Literal["fp32", "bf16"]
PAYS_FROM: Final = 1.3  # below this, casts and lost digits cost more than the products win
_SIDE: Final = 512
_ROUNDS: Final = 24  # the best counts: on a busy machine one of many short rounds runs undisturbed


@dataclass(frozen=True)
class PrecisionMeasurement:
    """Speed of one matrix product in both precisions.

    Attributes:
        fp32_gflops: Rate in float32.
        bf16_gflops: Rate under autocast to bfloat16, casts included.
        seconds: What the measurement took.

    Units:
        10^9 floating-point operations a second.
    """

    fp32_gflops: float
    bf16_gflops: float
    seconds: float

    @property
    def ratio(self) -> float:
        """How many times faster bfloat16 is."""
        return self.bf16_gflops / self.fp32_gflops

    @property
    def best(self) -> Precision:
        """The precision that pays."""
        return "bf16" if self.ratio >= PAYS_FROM else "fp32"


def measure_precision(device: str = "cpu") -> PrecisionMeasurement:
    """Time one matrix product in float32 and under bfloat16 autocast; the best of several rounds counts.

    On a processor one thread is timed and its rate multiplied by the threads in use: two threads that wait for each
    other on a busy machine would measure the machine's other work.

    Args:
        device: Where to measure.

    Returns:
        Both rates, in a few tenths of a second.
    """
    started = time.perf_counter()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rates = [threads * rate for rate in _measure_rates(device)]
    finally:
        torch.set_num_threads(threads)
    return PrecisionMeasurement(rates[0], rates[1], time.perf_counter() - started)


def _measure_rates(device: str) -> list[float]:
    left = torch.randn(_SIDE, _SIDE, device=device)
    right = torch.randn(_SIDE, _SIDE, device=device)
    rates = []
    for precision in ("fp32", "bf16"):
        best = float("inf")
        with torch.no_grad(), autocast(precision, device):
            torch.mm(left, right)
            for _ in range(_ROUNDS):
                _wait(device)
                before = time.perf_counter()
                torch.mm(left, right)
                _wait(device)
                best = min(best, time.perf_counter() - before)
        rates.append(2 * _SIDE**3 / best / 1e9)
    return rates


def autocast(precision: str, device: torch.device | str = "cpu") -> AbstractContextManager[object]:
    """Return the context that computes in a precision: bfloat16 products, everything delicate in float32.

    Args:
        precision: ``fp32`` or ``bf16``.
        device: Device or its type.
    """
    if precision != "bf16":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def main() -> None:
    """Print the measurement as one JSON line: the plan runs this file as a process, so that it never loads torch."""
    found = measure_precision()
    line = {"fp32_gflops": found.fp32_gflops, "bf16_gflops": found.bf16_gflops, "best": found.best}
    line["has_kernels"] = load_kernels() is not None
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
