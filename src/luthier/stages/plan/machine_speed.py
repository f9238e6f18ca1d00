"""How fast this machine multiplies matrices, asked of the engine in a process of its own.

Planning itself never loads torch; the child does, measures for half a second, prints one line and ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final, Literal, NamedTuple

from luthier.foundation.core.errors import EnvironmentLacks
from luthier.foundation.schema.noun import Noun

MODULE: Final = "luthier.instruments.engine.precision"
TIMEOUT_SECONDS: Final = 120


class Arithmetic(NamedTuple):
    """How a run computes.

    Attributes:
        precision: What products are computed in; weights are held in float32 all the same.
        gigaflops: Measured matrix-product speed in that precision, in 1e9 operations a second.
        uses_kernels: Whether the engine's own kernels compute what lies between products.
    """

    precision: str
    gigaflops: float
    uses_kernels: bool = False


class MachineSpeed(Noun):
    """Measured matrix-product rates, and whether the engine's own kernels for bfloat16 are there.

    Units:
        1e9 floating-point operations a second.
    """

    fp32_gflops: float
    bf16_gflops: float
    best: Literal["fp32", "bf16"]
    has_kernels: bool = False

    def rate(self, precision: str) -> float:
        """Return the rate of one precision."""
        return self.bf16_gflops if precision == "bf16" else self.fp32_gflops

    def compute_in(self, precision: str) -> Arithmetic:
        """Return how this machine computes in a precision."""
        return Arithmetic(precision, self.rate(precision), self.has_kernels and precision == "bf16")


def measure_speed(*, interpreter: str = sys.executable, timeout_seconds: float = TIMEOUT_SECONDS) -> MachineSpeed:
    """Measure in a child process.

    Raises:
        EnvironmentLacks: E-ENV-006 when the child cannot measure, for example because torch is broken, or does not
            answer in time.
    """
    command = [interpreter, "-m", MODULE]
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter and module
            command, capture_output=True, text=True, check=False, timeout=timeout_seconds
        )
    except subprocess.TimeoutExpired as error:
        raise _refuse(f"no answer in {timeout_seconds:g} seconds: the machine is busy") from error
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        reason = done.stderr.strip().splitlines()
        raise _refuse(reason[-1] if reason else f"exit status {done.returncode}")
    return MachineSpeed.model_validate(json.loads(lines[-1]))


def _refuse(got: str) -> EnvironmentLacks:
    return EnvironmentLacks(
        "E-ENV-006",
        "the speed of this machine could not be measured",
        got=got,
        needs="a working torch, and a processor that has half a second for it",
        allowed="a fixed precision: plan.precision fp32 or bf16 skips nothing else",
        fix="luthier doctor",
    )
