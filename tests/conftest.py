"""Fixtures of all tests. Sockets reach loopback only; nothing of the user's environment leaks in."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.fixtures.tiny_task import TinyTaskModel

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")  # a machine that has other work to do fails no law
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: on tiny models a second thread only waits for the first


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else address
        if isinstance(address, tuple) and str(host) not in {"127.0.0.1", "::1", "localhost"}:
            message = f"a test tried to reach {host!r}; tests use loopback only"
            raise RuntimeError(message)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def tiny_task_model(tmp_path_factory: pytest.TempPathFactory) -> TinyTaskModel:
    """Train the 0.2 million parameter model of the twelve-way task once for all tests that ask for it."""
    from tests.fixtures.tiny_task import train_tiny_task

    return train_tiny_task(tmp_path_factory.mktemp("tiny_task"))
