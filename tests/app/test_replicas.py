"""Processes of a service with two replicas are killed: who asks again is answered."""

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

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux has them"),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with run_service(tmp_path_factory.mktemp("replicas"), replicas=2) as running:
        yield running


@pytest.fixture
def client(service: Running) -> Iterator[Client]:
    with Client(str(service.client.base_url)) as client:
        yield client


def processes(service: Running, name: str) -> set[int]:
    """Ids of the live ones with this in their names."""
    found = usage(service.process.pid)
    return {pid for pid, each in found.items() if name in each.name}


def act_until(service: Running, client: Client, name: str, number: int, killed: set[int]) -> None:
    """Act, every time as at first, until there are so many others of these processes."""
    decided = client.act(BODY).actions
    deadline = time.monotonic() + 120
    while len(now := processes(service, name) - killed) < number:
        np.testing.assert_array_equal(client.act(BODY).actions, decided)
        assert time.monotonic() < deadline, now


def kill(pids: set[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_a_policy_replica(service: Running, client: Client) -> None:
    name = ":PolicyServer"
    before = processes(service, name)
    assert len(before) == 2
    killed = {min(before)}
    kill(killed)
    act_until(service, client, name, 2, killed)
    assert before & processes(service, name)


def test_the_film_replica(service: Running, client: Client) -> None:
    assert client.gif(7, max_steps=20, width=60).startswith(b"GIF")
    (killed,) = processes(service, ":RenderServer")
    kill({killed})
    assert client.gif(8, max_steps=20, width=60).startswith(b"GIF")
    assert len(processes(service, ":RenderServer") - {killed}) == 1


def test_the_proxy(service: Running, client: Client, haproxy_binary: str) -> None:
    client.act(BODY)
    killed = processes(service, haproxy_binary)
    assert killed
    kill(killed)
    act_until(service, client, haproxy_binary, 1, killed)
    client.act(BODY)


def test_the_controller(service: Running, client: Client) -> None:
    name = ":ServeController"
    killed = processes(service, name)
    assert len(killed) == 1
    kill(killed)
    act_until(service, client, name, 1, killed)
