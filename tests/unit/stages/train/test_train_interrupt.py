"""Signals: remembered, obeyed where it is safe, and given back."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from luthier.foundation.core.errors import Interrupted
from luthier.stages.train.interrupt import Interrupts


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_remembered_and_raised_where_the_loop_asks(number: int, exit_code: int) -> None:
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        interrupts.raise_if_received(state="nothing yet")
        os.kill(os.getpid(), number)
        assert interrupts.received == number
        with pytest.raises(Interrupted) as caught:
            interrupts.raise_if_received(state="step 3 of 9 is saved")
    assert signal.getsignal(number) == before
    assert caught.value.exit_code == exit_code
    assert caught.value.code == "E-TRN-003"
    assert "step 3 of 9 is saved" in str(caught.value)
    assert "goes on from there" in caught.value.problems[0].fix


def test_the_second_ctrl_c_has_its_usual_effect_at_once() -> None:
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.received == signal.SIGINT


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with Interrupts() as interrupts:
            seen.append((signal.getsignal(signal.SIGINT), interrupts.received))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, None)]
