"""Two replicas: one goes on where the other dies."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from app.client import Client
from benchmarks.processes import usage
from tests.app.running import BODY, Running, run_service

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="looks at processes as Linux has them"
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with run_service(tmp_path_factory.mktemp("replicas"), replicas=2) as running:
        yield running


def replicas(service: Running) -> set[int]:
    """The process ids of those that answer."""
    found = usage(service.process.pid)
    return {pid for pid, each in found.items() if each.name.endswith(":PolicyServer")}


def test_who_asks_again_is_answered_while_one_is_killed_and_comes_back(service: Running) -> None:
    before = replicas(service)
    assert len(before) == 2
    killed = min(before)
    with Client(str(service.client.base_url)) as client:
        decided = client.act(BODY).actions
        os.kill(killed, signal.SIGKILL)
        deadline = time.monotonic() + 120
        while len(now := replicas(service) - {killed}) < 2:
            np.testing.assert_array_equal(client.act(BODY).actions, decided)
            assert time.monotonic() < deadline, now
    assert before & now
