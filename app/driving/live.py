"""``mode=live`` of ``WS /drive``: the service simulates in real time and streams what happens."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from app.driving.car import FPS, FRAMES_PER_PICTURE, ManualControls, SimulatedCar
from app.driving.drives import ClientConnection, until_first
from app.driving.protocol import (
    YOU,
    Close,
    Controls,
    DriveClosedError,
    LiveEnd,
    LiveMessage,
    LiveQuery,
    LiveStart,
    Pause,
    Seen,
    Track,
    change,
    read_live_message,
    text_of,
)
from app.policies.finder import PolicyFinder
from app.policies.loading import LoadedPolicy

_AHEAD: Final = 50
"""Simulator frames that are sent at most beyond the newest one that the client has seen."""


class LiveDrive:
    """One client's tracks, one after the other."""

    def __init__(
        self,
        connection: ClientConnection,
        query: LiveQuery,
        finder: PolicyFinder,
        simulation: ThreadPoolExecutor,
    ) -> None:
        """Get ready.

        Args:
            connection: To the client.
            query: The first track.
            finder: Where policies are found, anew for each track.
            simulation: One thread, in which all live drives are simulated and encoded.
        """
        self._connection = connection
        self._query = query
        self._finder = finder
        self._simulation = simulation
        self._manual = ManualControls()
        self._paused = False
        self._sent = self._seen = 0
        self._told = asyncio.Event()
        self._anew = asyncio.Event()

    async def run(self) -> None:
        """Drive until the drive is closed, by raising why; see its errors."""
        await until_first(self._listen(), self._drive_tracks())

    async def _listen(self) -> None:
        while True:
            message = await self._connection.receive()
            if isinstance(message, bytes):
                raise DriveClosedError(
                    Close.PROTOCOL_ERROR, "binary messages are for mode=frames only"
                )
            self._take(read_live_message(message))
            self._told.set()

    def _take(self, message: LiveMessage) -> None:
        match message:
            case Track():
                self._query = change(self._query, message)
                self._paused = False
                self._anew.set()
            case Pause():
                self._paused = message.paused
            case Controls():
                self._manual.set(message.steering, message.gas, message.brake)
            case Seen():
                # Of the track before, it may name a frame that is still to come.
                self._seen = max(self._seen, min(message.frame, self._sent))

    async def _drive_tracks(self) -> None:
        while True:
            self._anew.clear()
            await until_first(self._drive_track(), self._anew.wait())

    async def _drive_track(self) -> None:
        query = self._query
        drivers = [await self._find(name) for name in query.drivers]
        size = (query.width, round(query.width * 2 / 3))
        lanes: list[SimulatedCar] = []

        def begin() -> None:
            for number, driver in enumerate(drivers):
                lanes.append(SimulatedCar(number, query.seed, driver, size))

        def end() -> None:
            for lane in lanes:
                lane.close()

        in_thread = asyncio.get_running_loop().run_in_executor
        try:
            await in_thread(self._simulation, begin)
            start = LiveStart(
                seed=query.seed,
                tiles=lanes[0].tiles,
                fps=FPS,
                width=size[0],
                height=size[1],
                lanes=[lane.start() for lane in lanes],
            )
            self._sent = self._seen = 0
            await self._connection.send_text(text_of(start))
            await self._stream(lanes)
            await self._connection.send_text(text_of(LiveEnd(lanes=[lane.end() for lane in lanes])))
        finally:
            # After what is still being driven there.
            self._simulation.submit(end)
        await self._anew.wait()

    async def _find(self, name: str) -> LoadedPolicy | ManualControls:
        return self._manual if name == YOU else await self._finder.find(name)

    async def _stream(self, lanes: list[SimulatedCar]) -> None:
        """Send the pictures at the simulator's speed; what is late is not made up for."""
        loop = asyncio.get_running_loop()
        frame, due = 0, loop.time()

        def advance() -> list[bytes]:
            return [picture for lane in lanes for picture in lane.until(frame)]

        while not all(lane.over for lane in lanes):
            while self._paused or frame > self._seen + _AHEAD:
                self._told.clear()
                await self._told.wait()
            for picture in await loop.run_in_executor(self._simulation, advance):
                await self._connection.send_bytes(picture)
            self._sent = frame
            frame += FRAMES_PER_PICTURE
            due = max(due + 1 / FPS, loop.time())
            await asyncio.sleep(due - loop.time())
