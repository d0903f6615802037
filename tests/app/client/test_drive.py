"""Driving over a WebSocket, against a service that plays its part by a script."""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from app.api.application import build_api
from app.client import Client
from app.client.errors import ServiceError
from app.client.retries import ATTEMPTS
from app.policies.loading import load_bundled
from app.policies.watcher import PolicyWatcher
from app.settings import Settings
from tests.app.conftest import INTERVAL_S, FakeRenderer, SetProxy, address_of
from tests.app.live import listen
from training.evaluation.rollout import drive
from training.store.policies import PolicyStore

START = {
    "type": "start",
    "policy": "run-a-000001",
    "source": "storage",
    "frame_skip": 4,
    "size": 84,
    "stack": 4,
}


@dataclass
class Script:
    """Does what it is told to at each connection in turn, and then decides what it was sent."""

    faults: list[Callable[[WebSocket], Awaitable[None]]] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)
    url: str = ""

    async def answer(self, socket: WebSocket) -> None:
        self.queries.append(dict(socket.query_params))
        self.authorizations.append(socket.headers.get("Authorization"))
        if self.faults:
            await self.faults.pop(0)(socket)
            return
        await socket.accept()
        await socket.send_json(START)
        async for picture in socket.iter_bytes():
            self.pictures.append(picture)
            action = np.array([0.1, 0.2, len(self.pictures)], "<f4")
            await socket.send_bytes(action.tobytes())


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()
    routes = [WebSocketRoute("/drive", script.answer)]
    with listen(Starlette(routes=routes)) as script.url:
        yield script


class Counted(gym.Env[Any, Any]):
    """Shows its frame's number, and gives 0.1 for each; over after ten."""

    def __init__(self, shape: tuple[int, ...] = (96, 96, 3), *, terminates: bool = True) -> None:
        self.observation_space = gym.spaces.Box(0, 255, shape, np.uint8)
        self.action_space = gym.spaces.Box(-1, 1, (3,), np.float32)
        self.seeds: list[int | None] = []
        self.actions: list[Any] = []
        self._terminates = terminates

    def _picture(self) -> Any:
        return np.full(self.observation_space.shape, len(self.actions), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self.seeds.append(seed)
        self.actions.clear()
        return self._picture(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.actions.append(action)
        over = len(self.actions) == 10
        return self._picture(), 0.1, over and self._terminates, over, {}


@pytest.mark.parametrize("shape", [(96, 96, 3), (84, 84)])
@pytest.mark.parametrize("terminates", [True, False])
def test_an_episode(script: Script, shape: tuple[int, ...], terminates: bool) -> None:
    env = Counted(shape, terminates=terminates)
    with Client(script.url, "secret") as client:
        episode = client.drive(env, 7, policy="best")
    assert script.queries == [{"mode": "frames", "policy": "best"}]
    assert script.authorizations == ["Bearer secret"]
    assert env.seeds == [7]
    shown = [np.full(shape, frame, np.uint8).tobytes() for frame in (0, 4, 8)]
    assert script.pictures == shown
    held = [float(action[2]) for action in env.actions]
    assert held == [1] * 4 + [2] * 4 + [3] * 2
    assert env.actions[0].dtype == np.float32
    assert episode.frames == 10
    # As decisions are added up: ten times 0.1 in a row is something else.
    four, two = 0.1 + 0.1 + 0.1 + 0.1, 0.1 + 0.1
    assert episode.score == four + four + two
    assert (episode.policy, episode.source) == ("run-a-000001", "storage")


def test_a_service_on_this_machine_drives_without_a_proxy(
    script: Script, silent_port: socket.socket, set_proxy: SetProxy
) -> None:
    set_proxy(address_of(silent_port))
    with Client(script.url) as client:
        assert client.drive(Counted()).frames == 10


def test_pictures_that_it_cannot_see(script: Script) -> None:
    words = r"uint8 \(64, 64\); they must be uint8 \(96, 96, 3\)"
    with Client(script.url) as client, pytest.raises(ValueError, match=words):
        client.drive(Counted((64, 64)))


def close_with(code: int, reason: str) -> Callable[[WebSocket], Awaitable[None]]:
    async def close(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close(code, reason)

    return close


def test_it_comes_back_when_there_is_no_room(script: Script, waits: list[float]) -> None:
    script.faults = [close_with(1013, "16 drives are open"), close_with(1001, "restart")]
    with Client(script.url) as client:
        assert client.drive(Counted()).frames == 10
    assert waits == [1, 1]


def test_it_gives_up_when_there_never_is_room(script: Script, waits: list[float]) -> None:
    script.faults = [close_with(1013, "16 drives are open") for _ in range(ATTEMPTS)]
    with Client(script.url) as client, pytest.raises(ServiceError, match="16 drives") as caught:
        client.drive(Counted())
    assert caught.value.status == 1013
    assert len(waits) == ATTEMPTS - 1


def test_a_policy_that_is_none(script: Script, waits: list[float]) -> None:
    script.faults = [close_with(4404, "there is no policy absent")]
    with Client(script.url) as client, pytest.raises(ServiceError) as caught:
        client.drive(Counted(), policy="absent")
    assert (caught.value.status, caught.value.detail) == (4404, "there is no policy absent")
    assert waits == []


def test_a_refused_handshake(script: Script, waits: list[float]) -> None:
    async def refuse(socket: WebSocket) -> None:
        problem = {"title": "No token", "status": 401, "detail": "send Authorization: Bearer"}
        await socket.send_denial_response(JSONResponse(problem, 401))

    script.faults = [refuse]
    with Client(script.url) as client, pytest.raises(ServiceError, match="Bearer") as caught:
        client.drive(Counted())
    assert (caught.value.status, caught.value.title) == (401, "No token")
    assert waits == []


async def start(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(json.dumps(START))
    await socket.receive_bytes()


def test_a_drive_that_is_ended_is_not_begun_again(script: Script, waits: list[float]) -> None:
    async def leave(socket: WebSocket) -> None:
        await start(socket)
        await socket.close(1001, "the service is going away")

    script.faults = [leave]
    env = Counted()
    with Client(script.url) as client, pytest.raises(ServiceError, match="going away"):
        client.drive(env)
    assert (env.seeds, env.actions) == ([None], [])
    assert waits == []


def test_a_service_that_falls_silent(script: Script) -> None:
    async def wait(socket: WebSocket) -> None:
        await start(socket)
        await socket.receive()  # until the client leaves

    script.faults = [wait]
    with (
        Client(script.url, timeout_s=1) as client,
        pytest.raises(TimeoutError, match="did not answer"),
    ):
        client.drive(Counted())


def test_a_score_is_the_offline_score_to_the_last_digit(
    settings: Settings, store: PolicyStore
) -> None:
    frames, policy = 250, load_bundled()
    env = gym.make("CarRacing-v3", max_episode_steps=frames)
    watcher = PolicyWatcher(store, INTERVAL_S, fallback=policy)
    api = build_api(settings, watcher, FakeRenderer(), store)
    with listen(api) as url, Client(url) as client:
        for seed in (7, 1_000_008):
            episode = client.drive(env, seed)
            offline = drive(policy, seed, simulator="stock", max_frames=frames)
            assert (episode.score, episode.frames) == (offline.score, offline.frames)
            assert (episode.policy, episode.source) == (policy.version, "bundled")
    env.close()  # type: ignore[no-untyped-call]
