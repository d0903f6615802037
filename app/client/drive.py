"""Client of ``WS /drive?mode=frames``: sends frames, receives controls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx
import numpy as np
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import connect

from app.client.errors import closed, refused_handshake, too_late, unreachable

if TYPE_CHECKING:
    import gymnasium as gym

FRAME_SHAPE = (96, 96, 3)
"""Shape of CarRacing-v3's observations."""


@dataclass(frozen=True)
class DrivenEpisode:
    """Result of an episode that the service drove."""

    score: float
    """Sum of the environment's rewards, unscaled."""
    frames: int
    """Steps of the environment."""
    policy: str
    """Version of the policy."""
    source: str
    """``storage`` or ``bundled``."""


class DriveConnection:
    """Connection for one episode; a context manager."""

    def __init__(
        self,
        url: httpx.URL,
        policy: str,
        headers: Mapping[str, str],
        open_s: float,
        timeout_s: float,
        *,
        direct: bool = False,
    ) -> None:
        """Connect and wait for the start message.

        Args:
            url: URL of the service; its path ends in a slash.
            policy: ``served``, ``latest``, ``best``, ``bundled``, or a version.
            headers: Headers of the handshake.
            open_s: Timeout of the connection and the start message.
            timeout_s: Timeout of every other message.
            direct: Ignore the proxy variables of the environment.

        Raises:
            ServiceError: The service refused.
            ConnectionError: It cannot be reached.
            TimeoutError: It does not answer.
        """
        self._url = url
        self._timeout_s = timeout_s
        self._open = ExitStack()
        deadline = monotonic() + open_s
        address = url.join("drive").copy_with(
            scheme="wss" if url.scheme == "https" else "ws",
            params={"mode": "frames", "policy": policy},
        )
        try:
            # No compression: compressing a picture takes longer than sending it.
            self._connection = self._open.enter_context(
                connect(
                    str(address),
                    additional_headers=headers,
                    compression=None,
                    open_timeout=open_s,
                    proxy=None if direct else True,
                )
            )
        except InvalidStatus as error:
            raise refused_handshake(error) from error
        except TimeoutError as error:
            raise too_late(url, open_s) from error
        except (OSError, WebSocketException) as error:
            raise unreachable(url, error) from error
        try:
            start = json.loads(self._receive(max(0.0, deadline - monotonic())))
        except BaseException:
            self._open.close()
            raise
        self.policy: str = start["policy"]
        self.source: str = start["source"]
        self.frame_skip: int = start["frame_skip"]
        self.shapes = (FRAME_SHAPE, (start["size"], start["size"]))
        """Accepted shapes of pictures, uint8."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def decide(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return controls, (3,) float32, for the newest picture; raises as the constructor."""
        try:
            self._connection.send(picture.tobytes())
        except ConnectionClosed as error:
            raise closed(error) from error
        return np.frombuffer(self._receive(self._timeout_s), "<f4")

    def _receive(self, limit_s: float) -> bytes:
        try:
            return self._connection.recv(timeout=limit_s, decode=False)
        except ConnectionClosed as error:
            raise closed(error) from error
        except TimeoutError as error:
            raise too_late(self._url, limit_s) from error


def drive_episode(
    connection: DriveConnection, env: gym.Env[Any, Any], seed: int | None
) -> DrivenEpisode:
    """Drive one episode of an environment; see :meth:`app.client.Client.drive`."""
    rewards: list[float] = []
    frames = 0
    picture, _ = env.reset(seed=seed)
    over = False
    while not over:
        if picture.shape not in connection.shapes or picture.dtype != np.uint8:
            raise ValueError(
                f"the environment's observations are {picture.dtype} {picture.shape}; they must "
                f"be uint8 {connection.shapes[0]} or {connection.shapes[1]}"
            )
        action = connection.decide(picture)
        # Sum by decision, as evaluation does, so that rounding is the same.
        reward = 0.0
        for _ in range(connection.frame_skip):
            picture, step_reward, terminated, truncated, _ = env.step(action)
            reward += float(step_reward)
            frames += 1
            if over := terminated or truncated:
                break
        rewards.append(reward)
    return DrivenEpisode(float(sum(rewards)), frames, connection.policy, connection.source)
