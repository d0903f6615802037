"""Ordinary requests during an attack, and the checks of their responses."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

import httpx
import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from benchmarks.attacks.hostile_bodies import SHAPE, npy
from benchmarks.attacks.hostile_drives import ended
from benchmarks.attacks.wire import HOST, WAIT_S
from training.evaluation.rollout import PolicyDriver
from training.policy.acting import Policy

_OBSERVATIONS: Final = 16
_BUSY: Final = 503


class Ordinary:
    """Asks for what is known beforehand; each method says what was answered, and what is wrong."""

    def __init__(self, policy: Policy, http: httpx.AsyncClient, port: int) -> None:
        """Get ready.

        Args:
            policy: The one that the service drives with.
            http: A client of the service.
            port: Of the service.
        """
        self._policy = policy
        self._http = http
        self._port = port
        rng = np.random.default_rng(0)
        self._observations = rng.integers(0, 256, (_OBSERVATIONS, *SHAPE), np.uint8)
        self._film = b""

    async def ask(self, chance: random.Random) -> tuple[str, str]:
        """One request; the answer in a word, and a fault or nothing."""
        asks = (self._act, self._list, self._watch, self._drive)
        return await chance.choices(asks, (16, 2, 1, 1))[0](chance)

    async def _act(self, chance: random.Random) -> tuple[str, str]:
        observation = self._observations[chance.randrange(_OBSERVATIONS)]
        answer = await self._http.post(
            "/act", content=npy(observation), headers={"Content-Type": "application/x-npy"}
        )
        right = answer.status_code != 200 or self._is_right(observation, answer.json()["actions"])
        return _judged(answer, right=right)

    def _is_right(self, observation: NDArray[np.uint8], actions: Sequence[Sequence[float]]) -> bool:
        expected = self._policy.act(observation[None])
        return np.array_equal(np.array(actions, np.float32), expected)

    async def _list(self, _: random.Random) -> tuple[str, str]:
        answer = await self._http.get("/policy")
        right = answer.status_code != 200 or answer.json()["version"] == self._policy.version
        return _judged(answer, right=right)

    async def _watch(self, _: random.Random) -> tuple[str, str]:
        answer = await self._http.get(f"/gif/{self._policy.version}/1.gif?max_steps=20&width=60")
        if answer.status_code == 200:
            self._film = self._film or answer.content
        return _judged(answer, right=answer.status_code != 200 or answer.content == self._film)

    async def _drive(self, chance: random.Random) -> tuple[str, str]:
        observation = self._observations[chance.randrange(_OBSERVATIONS)]
        driver = PolicyDriver(self._policy)
        picture = observation[..., 0]
        stack = np.repeat(picture[..., None], SHAPE[-1], axis=-1)
        try:
            address = f"ws://{HOST}:{self._port}/drive?mode=frames"
            async with connect(address, open_timeout=WAIT_S) as socket:
                await socket.recv()
                await socket.send(np.ascontiguousarray(picture).tobytes())
                action = await socket.recv()
        except (ConnectionClosed, InvalidStatus) as end:
            return ended(end)
        right = action == driver(stack).astype("<f4").tobytes()
        return "1000", "" if right else "another action than offline"


def _judged(answer: httpx.Response, *, right: bool) -> tuple[str, str]:
    status = answer.status_code
    if status not in (200, _BUSY):
        return f"{status}", f"status {status} to an ordinary request"
    return f"{status}", "" if right else "a wrong answer"
