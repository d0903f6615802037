"""``mode=live`` of ``WS /drive``: simulate in real time and stream pictures."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from app.driving.car import FPS, FRAMES_PER_PICTURE, ManualControls, SimulatedCar
from app.driving.connection import ClientConnection
from app.driving.drives import until_first
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
"""Flow control: simulator frames sent ahead of the newest one that the client has shown."""


class LiveDrive:
    """Drives tracks for one client, one after the other."""

    def __init__(
        self,
        connection: ClientConnection,
        query: LiveQuery,
        finder: PolicyFinder,
        simulation: ThreadPoolExecutor,
    ) -> None:
        """Prepare the first track.

        Args:
            connection: The client.
            query: The first track.
            finder: Finds the policies, again for each track.
            simulation: The thread that simulates and encodes all live drives.
        """
        self._connection = connection
        self._query = query
        self._finder = finder
        self._simulation = simulation
        self._manual = ManualControls()
        self._paused = False
        self._sent = self._seen = 0
        self._message_arrived = asyncio.Event()
        self._new_track = asyncio.Event()

    async def run(self) -> None:
        """Drive until an error closes the drive; see ``ClientConnection`` and ``PolicyFinder``."""
        await until_first(self._listen(), self._drive_tracks())

    async def _listen(self) -> None:
        while True:
            message = await self._connection.receive()
            if isinstance(message, bytes):
                raise DriveClosedError(
                    Close.PROTOCOL_ERROR, "a binary message; mode=live accepts text messages only"
                )
            self._take(read_live_message(message))
            self._message_arrived.set()

    def _take(self, message: LiveMessage) -> None:
        match message:
            case Track():
                self._query = change(self._query, message)
                self._paused = False
                self._new_track.set()
            case Pause():
                self._paused = message.paused
            case Controls():
                self._manual.set(message.steering, message.gas, message.brake)
            case Seen():
                # A late message about the previous track may name a frame not sent yet.
                self._seen = max(self._seen, min(message.frame, self._sent))

    async def _drive_tracks(self) -> None:
        while True:
            self._new_track.clear()
            await until_first(self._drive_track(), self._new_track.wait())

    async def _drive_track(self) -> None:
        query = self._query
        drivers = [await self._find(name) for name in query.drivers]
        size = (query.width, round(query.width * 2 / 3))
        cars: list[SimulatedCar] = []

        def begin() -> None:
            for number, driver in enumerate(drivers):
                cars.append(SimulatedCar(number, query.seed, driver, size))

        def end() -> None:
            for car in cars:
                car.close()

        in_thread = asyncio.get_running_loop().run_in_executor
        try:
            await in_thread(self._simulation, begin)
            start = LiveStart(
                seed=query.seed,
                tiles=cars[0].tiles,
                fps=FPS,
                width=size[0],
                height=size[1],
                lanes=[car.start() for car in cars],
            )
            self._sent = self._seen = 0
            await self._connection.send_text(text_of(start))
            await self._stream(cars)
            await self._connection.send_text(text_of(LiveEnd(lanes=[car.end() for car in cars])))
        finally:
            # Runs after the work that is still in that thread.
            self._simulation.submit(end)
        await self._new_track.wait()

    async def _find(self, name: str) -> LoadedPolicy | ManualControls:
        return self._manual if name == YOU else await self._finder.find(name)

    async def _stream(self, cars: list[SimulatedCar]) -> None:
        """Send pictures in real time. After a delay it continues at normal speed."""
        loop = asyncio.get_running_loop()
        frame, due = 0, loop.time()

        def advance() -> list[bytes]:
            return [picture for car in cars for picture in car.drive_to(frame)]

        while not all(car.is_finished for car in cars):
            while self._paused or frame > self._seen + _AHEAD:
                self._message_arrived.clear()
                await self._message_arrived.wait()
            for picture in await loop.run_in_executor(self._simulation, advance):
                await self._connection.send_bytes(picture)
            self._sent = frame
            frame += FRAMES_PER_PICTURE
            due = max(due + 1 / FPS, loop.time())
            await asyncio.sleep(due - loop.time())
