"""A door before a server on this machine: open, shut, or open onto nobody who answers."""

from __future__ import annotations

import asyncio
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
        self._server: asyncio.Server | None = None
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
        if self._server is None:
            self._server = await asyncio.start_server(self._talk, _HOST, self.port)
            self.port = int(self._server.sockets[0].getsockname()[1])
        if passing:
            self._passing.set()
        else:
            self._passing.clear()

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for talk in self._talks:
            talk.cancel()
        if self._talks:
            await asyncio.wait(self._talks)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None  # noqa: S101
        self._talks.add(talk)
        writers = [writer]
        # A client that is gone, or one that the shut door cuts off, is nobody's fault.
        with suppress(OSError, asyncio.CancelledError):
            await self._passing.wait()
            answers, server = await asyncio.open_connection(_HOST, self._target)
            writers.append(server)
            await asyncio.gather(self._pass_on(reader, server), self._pass_on(answers, writer))
        for each in writers:
            each.transport.abort()
        self._talks.discard(talk)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self._passing.wait()
            writer.write(data)
            await writer.drain()
        writer.write_eof()
