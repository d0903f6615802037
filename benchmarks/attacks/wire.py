"""HTTP over a socket, byte by byte: requests need not be HTTP, responses must be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import h11

from benchmarks.attacks.documented import Answer
from benchmarks.attacks.malice import Malice

HOST: Final = "127.0.0.1"
WAIT_S: Final = 150.0
"""Longest wait for an answer; films may take the service's own limit of 100 seconds."""


class NoAnswerError(Exception):
    """A connection ended, or nothing happened, without a whole answer; the message says which."""

    def __init__(self, message: str, *, closed: bool) -> None:
        super().__init__(message)
        self.closed = closed


class Line:
    """A connection to the service."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._received = b""

    def send(self, data: bytes) -> None:
        """Send, without waiting for the other side to take it."""
        self._writer.write(data)

    async def drained(self) -> None:
        """Wait until most was taken; raises ConnectionError where it never will be."""
        await self._writer.drain()

    def half_close(self) -> None:
        """Say that nothing more will come, and go on reading."""
        with suppress(OSError):
            self._writer.write_eof()

    def vanish(self) -> None:
        """Leave without a word."""
        self._writer.transport.abort()

    async def answer(self, method: str = "GET", wait_s: float = WAIT_S) -> Answer:
        """The next answer; raises NoAnswerError.

        Args:
            method: Of the request, as answers to HEAD have no body.
            wait_s: For how long to wait.
        """
        try:
            async with asyncio.timeout(wait_s):
                return await self._answer(method)
        except TimeoutError as error:
            raise NoAnswerError(f"no answer within {wait_s:g} s", closed=False) from error
        except (OSError, h11.RemoteProtocolError) as error:
            message = "the connection was closed without an answer"
            raise NoAnswerError(message, closed=True) from error

    async def _answer(self, method: str) -> Answer:
        # It is told of another request than was sent: it is to read the answer only.
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("Host", HOST)]))
        parser.send(h11.EndOfMessage())
        parser.receive_data(self._received or await self._reader.read(1 << 16))
        status, headers, body = 0, {}, b""
        while True:
            match parser.next_event():
                case h11.Response(status_code=status, headers=given):
                    headers = {name.decode(): value.decode("latin-1") for name, value in given}
                case h11.Data(data=data):
                    body += bytes(data)
                case h11.EndOfMessage():
                    self._received = parser.trailing_data[0]
                    return Answer(status, headers, body)
                case h11.ConnectionClosed():
                    raise ConnectionResetError
                case h11.NEED_DATA:
                    parser.receive_data(await self._reader.read(1 << 16))
                case _:  # 1xx, or an answer whose successor has arrived with it
                    continue


@asynccontextmanager
async def line(port: int) -> AsyncIterator[Line]:
    """A connection, left at the end."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def wire(malice: Malice) -> bytes:
    """A request as it goes over the wire; its connection is for it alone."""
    given = {name.lower() for name, _ in malice.headers}
    headers = [*malice.headers, ("Connection", "close")]
    if "host" not in given:
        headers.insert(0, ("Host", HOST))
    if "content-length" not in given and (malice.body or malice.method == "POST"):
        headers.append(("Content-Length", str(len(malice.body))))
    lines = [f"{malice.method} {malice.target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + malice.body
