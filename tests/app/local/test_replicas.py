"""Processes of a service with two replicas are killed, and its proxy starts slowly."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.client import Client
from benchmarks.support.processes import usage
from tests.app.conftest import NPY, npy
from tests.app.running import BODY, Running, kill, publish, run_service
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux has them"),
]
REPLICA = ":PolicyServer"
CONTROLLER = ":ServeController"
SLOW = """\
#!/bin/sh
# Takes longer to start, the first time, than Serve waits for a proxy by default.
[ "$1" = -v ] || [ -e {marker} ] || {{ touch {marker}; sleep 16; }}
exec {binary} "$@"
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, haproxy_binary: str) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("replicas")
    slow = folder / "haproxy"
    slow.write_text(SLOW.format(marker=folder / "marker", binary=haproxy_binary))
    slow.chmod(0o700)
    with run_service(folder, replicas=2, RAY_SERVE_HAPROXY_BINARY_PATH=str(slow)) as running:
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

    def replaced() -> bool:
        np.testing.assert_array_equal(client.act(BODY).actions, decided)
        return len(processes(service, name) - killed) >= number

    wait_until(replaced)


def answers_again(service: Running) -> None:
    """Wait until both replicas answer."""
    wait_until(lambda: service.act().status_code == 200 and len(processes(service, REPLICA)) == 2)


def test_a_proxy_that_starts_slowly_is_waited_for(service: Running) -> None:
    assert service.act().status_code == 200
    assert "waiting for the HTTP proxy" in service.log.read_text()


def test_a_policy_replica(service: Running, client: Client) -> None:
    answers_again(service)
    before = processes(service, REPLICA)
    assert len(before) == 2
    killed = {min(before)}
    kill(killed)
    act_until(service, client, REPLICA, 2, killed)
    assert before & processes(service, REPLICA)


def test_without_a_replica_a_request_waits_for_a_new_one(service: Running) -> None:
    answers_again(service)
    with without_controller(service):
        kill(processes(service, REPLICA))
        wait_until(lambda: statuses(service) == {None})
    answers_again(service)


def test_two_services_on_one_machine_do_not_answer_for_each_other(
    service: Running, tmp_path: Path
) -> None:
    """One has lost its replicas while the other one, which has lost its own, gets new ones."""
    token = "correct-horse-battery"
    answers_again(service)
    ours = publish(service.store)
    service.wait_for(ours)
    with run_service(tmp_path, CARRACING_API_TOKEN=token) as other:
        other.client.headers["Authorization"] = f"Bearer {token}"
        theirs = publish(other.store, iteration=2)
        other.wait_for(theirs)
        both = ((other, theirs.version), (service, ours.version))
        for (late, late_version), (early, early_version) in (both, both[::-1]):
            killed = processes(service, REPLICA) | processes(other, REPLICA)
            with without_controller(late):
                kill(killed)
                wait_until(partial(is_back, early, early_version, killed))
                wait_until(lambda: statuses(late) == {None})  # noqa: B023
                assert statuses(late) == {None}
            wait_until(partial(is_back, late, late_version, killed))


@contextmanager
def without_controller(service: Running) -> Iterator[None]:
    """No replica is replaced meanwhile."""
    controller = processes(service, CONTROLLER)
    assert controller
    for pid in controller:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in controller:
            os.kill(pid, signal.SIGCONT)


def statuses(service: Running) -> set[int | None]:
    """What several queries at once are answered by replicas; None for no answer of a replica.

    HAProxy answers 500 if the connection to a replica breaks, and Serve's own proxy, which follows,
    waits for a replica.
    """

    def query(_: int) -> int | None:
        try:
            answer = httpx.post(
                service.client.base_url.join("/act"),
                content=npy(BODY),
                headers=NPY | dict(service.client.headers),
                timeout=2,
            )
        except httpx.TransportError:
            return None
        return (
            None if answer.headers["Content-Type"].startswith("text/plain") else answer.status_code
        )

    with ThreadPoolExecutor(16) as threads:
        return set(threads.map(query, range(16)))


def is_back(service: Running, version: str, killed: set[int]) -> bool:
    """Query once: whether the service has another replica and its policy decides."""
    try:
        answer = service.act()
    except httpx.TransportError:
        return False
    if answer.status_code != 200:
        assert answer.headers["Content-Type"].startswith("text/plain"), answer.text
        return False
    # A new replica may not have read storage yet.
    own = answer.json()["source"] == "bundled" or answer.json()["policy"] == version
    assert own, answer.text
    return answer.json()["policy"] == version and bool(processes(service, REPLICA) - killed)


def test_the_film_replica(service: Running, client: Client) -> None:
    assert client.gif(7, max_steps=20, width=60).startswith(b"GIF")
    (killed,) = processes(service, ":RenderServer")
    kill({killed})
    assert client.gif(8, max_steps=20, width=60).startswith(b"GIF")
    assert len(processes(service, ":RenderServer") - {killed}) == 1


def test_a_query_that_offers_http2_is_answered(service: Running) -> None:
    offer = {
        "Connection": "Upgrade, HTTP2-Settings",
        "Upgrade": "h2c",
        "HTTP2-Settings": "AAMAAABkAAQCAAAAAAIAAAAA",
    }
    content = npy(BODY)
    url = service.client.base_url
    connection = http.client.HTTPConnection(url.host, url.port, timeout=300)
    for body in (content, iter([content[:5000], content[5000:]])):
        # On one connection: nothing of the first body is taken for a second request.
        connection.request(
            "POST", "/act", body, NPY | offer, encode_chunked=not isinstance(body, bytes)
        )
        answer = connection.getresponse()
        assert answer.status == 200
        assert len(json.loads(answer.read())["actions"]) == 1
    connection.close()


def test_the_proxy(service: Running, client: Client, haproxy_binary: str) -> None:
    client.act(BODY)
    killed = processes(service, haproxy_binary)
    assert killed
    kill(killed)
    act_until(service, client, haproxy_binary, 1, killed)
    client.act(BODY)


def test_the_controller(service: Running, client: Client) -> None:
    killed = processes(service, CONTROLLER)
    assert len(killed) == 1
    kill(killed)
    act_until(service, client, CONTROLLER, 1, killed)
