"""A TCP proxy on this machine that forwards, refuses, or accepts and never answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from contextlib import suppress
from threading import Thread
from typing import Any, Final, Self

_HOST: Final = "127.0.0.1"
_CHUNK: Final = 1 << 16


class Door:
    """Passes connections on to a port, until told otherwise. To be used from one thread."""

    def __init__(self, target: int) -> None:
        """Open it, on a port of its own, before the port ``target``."""
        self._target = target
        self.port = 0
        """Where it listens."""
        self._listening: socket.socket | None = None
        self._passing = asyncio.Event()
        self._talks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="door", daemon=True)
        self._thread.start()
        self.open()

    def open(self) -> None:
        """Let everything through, what was held up included."""
        self._do(self._open())

    def shut(self) -> None:
        """Refuse connections, and break those that there are."""
        self._do(self._shut())

    def hang(self) -> None:
        """Take connections, keep those that there are, and let no byte through."""
        self._do(self._open(passing=False))

    def close(self) -> None:
        """Be gone."""
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self, *, passing: bool = True) -> None:
        if self._listening is None:
            self._listening = socket.create_server((_HOST, self.port))
            self._listening.setblocking(False)
            self.port = int(self._listening.getsockname()[1])
            self._loop.add_reader(self._listening, self._accept, self._listening)
        if passing:
            self._passing.set()
        else:
            self._passing.clear()

    async def _shut(self) -> None:
        if self._listening is not None:
            self._loop.remove_reader(self._listening)
            self._listening.close()
            self._listening = None
        for talk in self._talks:
            talk.cancel()
        if self._talks:
            await asyncio.wait(self._talks)

    def _accept(self, listening: socket.socket) -> None:
        """Take a connection, in one step: asyncio's server knows of one only later.

        The door may be shut in between, and must break whatever has been taken.
        """
        try:
            connection, _ = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):  # the client is gone
            return
        connection.setblocking(False)
        talk = self._loop.create_task(self._talk(connection))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)
        # One that is cancelled before its first step has closed nothing.
        talk.add_done_callback(lambda _: connection.close())

    async def _talk(self, connection: socket.socket) -> None:
        writers = []
        # A client that is gone, or one that the shut door cuts off, is nobody's fault.
        with suppress(OSError, asyncio.CancelledError):
            queries, client = await asyncio.open_connection(sock=connection)
            writers.append(client)
            await self._passing.wait()
            answers, server = await asyncio.open_connection(_HOST, self._target)
            writers.append(server)
            await asyncio.gather(self._pass_on(queries, server), self._pass_on(answers, client))
        for each in writers:
            each.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self._passing.wait()
            writer.write(data)
            await writer.drain()
        writer.write_eof()
