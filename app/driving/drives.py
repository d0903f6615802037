"""The open drives of a replica: their limit, and their end when the replica stops."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from app.driving.protocol import Close, DriveClosedError

_CLOSE_S: Final = 5.0
"""Longest wait for the open drives to end."""


class Drives:
    """Counts the open drives and ends them together. It belongs to one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0
        self._stopping = asyncio.Event()
        self._all_closed = asyncio.Event()
        self._all_closed.set()

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Count one drive inside the block; raises DriveClosedError at the limit."""
        if self._open >= self._limit:
            raise DriveClosedError(
                Close.TRY_AGAIN, f"{self._limit} drives are open already; try again later"
            )
        self._open += 1
        self._all_closed.clear()
        try:
            yield
        finally:
            self._open -= 1
            if self._open == 0:
                self._all_closed.set()

    async def going_away(self) -> NoReturn:
        """Wait until the replica stops, then raise DriveClosedError."""
        await self._stopping.wait()
        raise DriveClosedError(Close.GOING_AWAY, "this replica stops; connect again")

    async def close(self) -> None:
        """End all drives, including later ones, and wait for them for a few seconds."""
        self._stopping.set()
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._all_closed.wait()
        except TimeoutError:
            return


async def until_first(*works: Coroutine[Any, Any, object]) -> None:
    """Run all until the first ends or fails; cancel the others and wait for their end."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
