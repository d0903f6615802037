"""``mode=frames`` of ``WS /drive``: answer each picture from the client with an action."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import numpy as np

from app.driving.connection import ClientConnection
from app.driving.drives import until_first
from app.driving.protocol import (
    Close,
    DriveClosedError,
    FramesQuery,
    FramesStart,
    Reset,
    read_frames_message,
    text_of,
)
from app.policies.finder import PolicyFinder
from app.policies.loading import LoadedPolicy
from training.environment.observation import FRAME_SHAPE, Pixels
from training.environment.pipeline import PictureStack, shrink, to_grey
from training.evaluation.rollout import PolicyDriver

_WAITING: Final = 64
"""Messages that may wait for an answer. A client waits for an action before it sends the next
picture."""

_FRAME_BYTES: Final = int(np.prod(FRAME_SHAPE))

Compute = Callable[[Callable[[], bytes]], Awaitable[bytes]]
"""Runs CPU work off the event loop."""


class FramesEpisode:
    """One episode of a client's environment, decided as in evaluation."""

    def __init__(self, loaded: LoadedPolicy, seed: int | None) -> None:
        self._pipeline = loaded.policy.description.pipeline
        self._driver = PolicyDriver(loaded.policy, seed=seed)
        self._stack = PictureStack(self._pipeline.stack)
        self._started = False

    def decide(self, content: bytes) -> bytes:
        """Return the action for a picture: three little-endian float32.

        Args:
            content: A raw frame, (96, 96, 3) uint8, or a prepared picture, (size, size) uint8.

        Raises:
            DriveClosedError: The picture has another size.
        """
        picture = self._picture(content)
        observation = (self._stack.push if self._started else self._stack.start)(picture)
        self._started = True
        return self._driver(observation).astype("<f4").tobytes()

    def _picture(self, content: bytes) -> Pixels:
        size = self._pipeline.size
        pixels = np.frombuffer(content, np.uint8)
        if len(content) == size * size:
            return pixels.reshape(size, size)
        if len(content) == _FRAME_BYTES:
            return shrink(to_grey(pixels.reshape(FRAME_SHAPE)), size)
        most = max(_FRAME_BYTES, size * size)
        raise DriveClosedError(
            Close.MESSAGE_TOO_BIG if len(content) > most else Close.PROTOCOL_ERROR,
            f"a picture has {len(content)} bytes; it must have {_FRAME_BYTES} (96×96×3 RGB) or "
            f"{size * size} ({size}×{size} grey)",
        )


class FramesDrive:
    """Answers the pictures of one client, episode after episode."""

    def __init__(
        self,
        connection: ClientConnection,
        query: FramesQuery,
        finder: PolicyFinder,
        compute: Compute,
    ) -> None:
        self._connection = connection
        self._query = query
        self._finder = finder
        self._compute = compute
        self._waiting: asyncio.Queue[Reset | bytes] = asyncio.Queue(_WAITING)

    async def run(self) -> None:
        """Answer until an error closes the drive; see ``ClientConnection`` and ``PolicyFinder``."""
        await until_first(self._listen(), self._answer())

    async def _listen(self) -> None:
        while True:
            message = await self._connection.receive()
            try:
                self._waiting.put_nowait(
                    message if isinstance(message, bytes) else read_frames_message(message)
                )
            except asyncio.QueueFull as error:
                raise DriveClosedError(
                    Close.PROTOCOL_ERROR,
                    f"{_WAITING} messages wait already; wait for the action to each picture",
                ) from error

    async def _answer(self) -> None:
        episode = await self._start()
        while True:
            message = await self._waiting.get()
            if isinstance(message, Reset):
                episode = await self._start()
                continue
            action = await self._compute(partial(episode.decide, message))
            await self._connection.send_bytes(action)

    async def _start(self) -> FramesEpisode:
        loaded = await self._finder.find(self._query.policy)
        pipeline = loaded.policy.description.pipeline
        start = FramesStart(
            policy=loaded.ref.version,
            source=loaded.source,
            frame_skip=pipeline.frame_skip,
            size=pipeline.size,
            stack=pipeline.stack,
        )
        await self._connection.send_text(text_of(start))
        return FramesEpisode(loaded, self._query.seed)
