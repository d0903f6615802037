"""The client against the service's own API, and against a service that misbehaves."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from app.api.application import build_api
from app.client import Client, to_npy
from app.client.errors import ServiceError
from app.client.retries import ATTEMPTS
from app.policies.watcher import PolicyWatcher
from app.settings import Settings
from tests.app.conftest import FakeRenderer, SetProxy, address_of, pictures
from tests.app.live import listen
from tests.conftest import PublishPolicy
from training.policy.acting import Policy
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore

POLICY = {"version": "run-a-000001"}


@pytest.fixture
def ref(store: PolicyStore, publish_policy: PublishPolicy) -> PolicyRef:
    return publish_policy(store)


@pytest.fixture
def renderer() -> FakeRenderer:
    return FakeRenderer()


@pytest.fixture
def client(
    settings: Settings,
    store: PolicyStore,
    ref: PolicyRef,
    watcher: PolicyWatcher,
    renderer: FakeRenderer,
) -> Iterator[Client]:
    """One of a service that has a policy."""
    with listen(build_api(settings, watcher, renderer, store)) as url, Client(url) as client:
        yield client


def test_acts_as_the_policy_does_offline(
    client: Client, store: PolicyStore, ref: PolicyRef
) -> None:
    policy = Policy.from_published(store.fetch(ref))
    batch = pictures(3, 84, 84, 4)
    decision = client.act(batch)
    assert decision.actions.dtype == np.float32
    np.testing.assert_allclose(decision.actions, policy.act(batch), atol=1e-6)
    assert (decision.policy, decision.source) == (ref.version, "storage")
    one = client.act(batch[0])
    np.testing.assert_allclose(one.actions, policy.act(batch[:1])[0], atol=1e-6)
    sampled = client.act(batch[:1], seed=7)
    np.testing.assert_allclose(sampled.actions, policy.act(batch[:1], seed=7), atol=1e-6)


def test_acts_on_raw_frames(client: Client) -> None:
    frames = pictures(2, 4, 96, 96, 3)
    batch = client.act(frames).actions
    assert batch.shape == (2, 3)
    one = client.act(frames[1]).actions
    np.testing.assert_allclose(one, batch[1], atol=1e-6)


def test_what_is_served(client: Client, ref: PolicyRef) -> None:
    facts = client.policy()
    assert facts["version"] == ref.version
    assert facts["observation_shape"] == [84, 84, 4]


def test_films_of_the_newest_policy_and_of_any(
    client: Client, renderer: FakeRenderer, ref: PolicyRef
) -> None:
    assert client.gif(7, width=60) == b"film 7"
    assert client.gif(8, ref.version, fps=10) == b"film 8"
    shown = [(film.version, film.seed, film.width, film.fps) for film in renderer.films]
    assert shown == [(ref.version, 7, 60, 25), (ref.version, 8, 300, 10)]


def test_refusals_say_what_is_wrong(client: Client) -> None:
    with pytest.raises(ServiceError, match=r"query\.width") as caught:
        client.gif(7, width=601)
    assert (caught.value.status, caught.value.title) == (422, "The request is not valid")
    with pytest.raises(ServiceError, match="there is no policy 'a b'") as caught:
        client.gif(7, "a b")
    assert caught.value.status == 404
    with pytest.raises(ServiceError, match="the shape is") as caught:
        client.act(pictures(5, 5))
    assert caught.value.retry_after_s is None


def test_objects_are_not_sent() -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        to_npy(np.array([{}]))


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", ""])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match=r"must begin with http"):
        Client(url)


@dataclass
class Script:
    """A service that answers what it is told to, in turn, and then as it should."""

    answers: list[Response] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: Request) -> Response:
        self.requests.append(request)
        return self.answers.pop(0) if self.answers else JSONResponse(POLICY)

    def application(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self.answer, methods=["GET", "POST"])])


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()
    with listen(script.application()) as script.url:
        yield script


def busy(status: int = 503, retry_after: str | None = "2") -> Response:
    problem = {"title": "Too many requests are waiting", "status": status, "detail": "64 queries"}
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return JSONResponse(problem, status, headers, media_type="application/problem+json")


def test_the_token_goes_along(script: Script) -> None:
    with Client(script.url, "secret") as client:
        client.policy()
    with Client(script.url) as client:
        client.policy()
    authorizations = [request.headers.get("Authorization") for request in script.requests]
    assert authorizations == ["Bearer secret", None]


def test_a_service_below_a_path(script: Script) -> None:
    with Client(f"{script.url}/some/path") as client:
        client.policy()
    assert [request.url.path for request in script.requests] == ["/some/path/policy"]


def test_it_comes_back_when_told_to(script: Script, waits: list[float]) -> None:
    script.answers = [busy(), busy(429, "3"), busy(503, None), busy(503, "tomorrow")]
    with Client(script.url) as client:
        assert client.policy() == POLICY
    assert waits == [2, 3, 1, 1]


def test_queries_are_asked_again_too(script: Script, waits: list[float]) -> None:
    answer = {"actions": [[0.5, 1, 0]], "policy": "run-a-000001", "source": "bundled"}
    script.answers = [busy(), JSONResponse(answer)]
    with Client(script.url) as client:
        decision = client.act(pictures(84, 84, 4))
    assert decision.actions.tolist() == [0.5, 1, 0]
    assert decision.source == "bundled"
    assert len(script.requests) == 2


def test_it_gives_up_after_some_attempts(script: Script, waits: list[float]) -> None:
    script.answers = [busy(503, "0") for _ in range(ATTEMPTS)]
    with Client(script.url) as client, pytest.raises(ServiceError, match="64 queries") as caught:
        client.policy()
    assert (caught.value.status, caught.value.retry_after_s) == (503, 0)
    assert len(script.requests) == ATTEMPTS


def test_it_does_not_wait_for_longer_than_it_may(script: Script, waits: list[float]) -> None:
    script.answers = [busy(503, "2"), busy(503, "3600")]
    with Client(script.url, timeout_s=60) as client, pytest.raises(ServiceError, match="503"):
        client.policy()
    assert waits == [2]


def test_other_refusals_are_not_asked_again(script: Script, waits: list[float]) -> None:
    script.answers = [busy(500)]
    with Client(script.url) as client, pytest.raises(ServiceError) as caught:
        client.policy()
    assert caught.value.retry_after_s is None
    assert waits == []


def test_what_a_proxy_says(script: Script) -> None:
    script.answers = [PlainTextResponse("upstream is slow", 504), JSONResponse([], 400)]
    with Client(script.url) as client:
        with pytest.raises(ServiceError, match="504 Gateway Timeout: upstream is slow"):
            client.policy()
        with pytest.raises(ServiceError, match="400 Bad Request"):
            client.policy()


def test_what_a_proxy_says_of_a_process_that_died_is_asked_again(
    script: Script, waits: list[float]
) -> None:
    script.answers = [
        PlainTextResponse("upstream is down", 502),
        PlainTextResponse("Internal Server Error", 500),
    ]
    with Client(script.url) as client:
        assert client.policy() == POLICY
    assert waits == [0.1, 0.2]


def test_a_service_that_starts_a_moment_later(
    monkeypatch: pytest.MonkeyPatch, silent_port: socket.socket
) -> None:
    with ExitStack() as stack:
        waits: list[float] = []

        def start(seconds: float) -> None:
            waits.append(seconds)
            monkeypatch.undo()
            stack.enter_context(listen(Script().application(), silent_port))

        monkeypatch.setattr("app.client.service.sleep", start)
        client = stack.enter_context(Client(address_of(silent_port)))
        assert client.policy() == POLICY
        assert waits == pytest.approx([0.1], rel=0.3)


def test_a_service_that_is_not_there(waits: list[float], silent_port: socket.socket) -> None:
    with (
        Client(address_of(silent_port)) as client,
        pytest.raises(ConnectionError, match="cannot be reached"),
    ):
        client.policy()
    assert len(waits) == ATTEMPTS - 1


def test_a_service_on_this_machine_is_asked_without_a_proxy(
    script: Script, silent_port: socket.socket, set_proxy: SetProxy
) -> None:
    set_proxy(address_of(silent_port))
    for host in ("127.0.0.1", "localhost"):
        with Client(script.url.replace("127.0.0.1", host)) as client:
            assert client.policy() == POLICY


def test_another_service_is_asked_through_the_proxy(script: Script, set_proxy: SetProxy) -> None:
    set_proxy(script.url)
    with Client("http://car.test") as client:
        assert client.policy() == POLICY
    assert script.requests[0].headers["Host"] == "car.test"


def test_a_service_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with (
            Client(url, timeout_s=0.2) as client,
            pytest.raises(TimeoutError, match=r"within 0\.2 s"),
        ):
            client.policy()
