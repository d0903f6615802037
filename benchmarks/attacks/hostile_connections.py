"""Hostile connections: slow, cut off, half closed, endless, or not HTTP."""

from __future__ import annotations

import asyncio
import random
from typing import Final

import numpy as np

from app.problems import PROBLEM_JSON
from benchmarks.attacks.documented import Answer
from benchmarks.attacks.hostile_bodies import SHAPE, npy
from benchmarks.attacks.malice import Harm
from benchmarks.attacks.wire import HOST, Line, NoAnswerError, line

BODY_TIMEOUT_S: Final = 10.0
"""What the service is to be told of bodies, so that the slow ones do not take all day."""

_BODY: Final = npy(np.zeros(SHAPE, np.uint8))
_HOSTS: Final = (b"[", b"evil[::1", b"a:b:c", b"\xff", b"a b")
_CHUNK: Final = b"%x\r\n" % (1 << 16) + bytes(1 << 16) + b"\r\n"
_LEFT: Final = ("left", "")
"""Of who does not wait for an answer."""


def _head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {HOST}", *headers, "", ""]).encode()


def _query(*headers: str) -> bytes:
    return _head("POST", "/act", "Content-Type: application/x-npy", *headers)


def _expect(answer: Answer, status: int) -> tuple[str, str]:
    """A fault where the status is another, or an error is no problem."""
    fault, given = "", answer.headers.get("content-type")
    if answer.status not in (status, 503):
        fault = f"status {answer.status}; it must be {status}"
    elif answer.status >= 400 and given != PROBLEM_JSON:
        fault = f"an error of the type {given}"
    return f"{answer.status}", fault


def _unanswered(error: NoAnswerError) -> tuple[str, str]:
    """Where the end will do as well."""
    return ("closed", "") if error.closed else ("none", f"{error}")


async def _refused(connection: Line) -> tuple[str, str]:
    """Below the application nobody knows problems: an error in plain text will do, or the end."""
    try:
        answer = await connection.answer()
    except NoAnswerError as error:
        return _unanswered(error)
    right = 400 <= answer.status < 500 or answer.status == 503
    return f"{answer.status}", "" if right else f"status {answer.status}"


async def slow_body(port: int, _: random.Random) -> tuple[str, str]:
    """A byte at a time, for longer than a body may take."""
    async with line(port) as connection:
        connection.send(_query(f"Content-Length: {len(_BODY)}"))

        async def drip() -> None:
            for byte in _BODY:
                connection.send(bytes([byte]))
                await asyncio.sleep(0.1)

        dripping = asyncio.create_task(drip())
        try:
            return _expect(await connection.answer(), 408)
        finally:
            dripping.cancel()


async def cut_body(port: int, chance: random.Random) -> tuple[str, str]:
    """A part of a body, and then the end of what will come."""
    async with line(port) as connection:
        part = _BODY[: chance.randrange(len(_BODY))]
        connection.send(_query(f"Content-Length: {len(_BODY)}") + part)
        connection.half_close()
        return await _refused(connection)


async def gone_in_the_body(port: int, chance: random.Random) -> tuple[str, str]:
    """A part of a body, and nobody there any more."""
    async with line(port) as connection:
        part = _BODY[: chance.randrange(len(_BODY))]
        connection.send(_query(f"Content-Length: {len(_BODY)}") + part)
        await asyncio.sleep(chance.random() / 10)
        connection.vanish()
    return _LEFT


async def gone_before_the_answer(port: int, chance: random.Random) -> tuple[str, str]:
    """A whole request, and nobody to hear the answer."""
    async with line(port) as connection:
        connection.send(_query(f"Content-Length: {len(_BODY)}") + _BODY)
        await asyncio.sleep(chance.random() / 100)
        connection.vanish()
    return _LEFT


async def half_closed(port: int, _: random.Random) -> tuple[str, str]:
    """A whole request, and then the end of what will come: an answer, 400, or none, but an end."""
    async with line(port) as connection:
        connection.send(_head("GET", "/health/live"))
        connection.half_close()
        try:
            answer = await connection.answer()
        except NoAnswerError as error:
            return _unanswered(error)
        return _expect(answer, 400 if answer.status == 400 else 200)


async def endless_body(port: int, _: random.Random) -> tuple[str, str]:
    """Chunk after chunk, until there is an answer, or 256 MiB were taken."""
    async with line(port) as connection:
        connection.send(_query("Transfer-Encoding: chunked"))

        async def pour() -> None:
            for _ in range(4096):
                connection.send(_CHUNK)
                await connection.drained()

        pouring = asyncio.create_task(pour())
        try:
            return _expect(await connection.answer(), 413)
        finally:
            pouring.cancel()
            await asyncio.gather(pouring, return_exceptions=True)


async def long_head(port: int, chance: random.Random) -> tuple[str, str]:
    """A head of some megabytes, or of thousands of lines."""
    async with line(port) as connection:
        length = chance.choice((1, 1000))
        lines = (f"X-{number}: {'a' * length}" for number in range(chance.randint(1000, 4000)))
        connection.send(_head("GET", "/policy", *lines))
        return await _refused(connection)


async def slow_head(port: int, chance: random.Random) -> tuple[str, str]:
    """A head in two parts."""
    async with line(port) as connection:
        head = _head("GET", "/health/live")
        cut = chance.randrange(len(head))
        connection.send(head[:cut])
        await asyncio.sleep(1.0)
        connection.send(head[cut:])
        return _expect(await connection.answer(), 200)


async def not_http(port: int, chance: random.Random) -> tuple[str, str]:
    """TLS, other protocols, broken requests and noise."""
    async with line(port) as connection:
        connection.send(
            chance.choice(
                (
                    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(100),
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                    b"GET / HTTP/9.9\r\n\r\n",
                    b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
                    b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n",
                    b"GET / HTTP/1.1\r\n no name: a\r\n\r\n",
                    *(b"GET /nothing HTTP/1.1\r\nHost: %s\r\n\r\n" % host for host in _HOSTS),
                    _query("Content-Length: -1") + _BODY,
                    _query("Content-Length: 5", "Content-Length: 6") + _BODY,
                    _query("Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
                    _query("Transfer-Encoding: chunked") + b"-1\r\n\r\n",
                    _query("Transfer-Encoding: chunked") + b"f" * 100 + b"\r\n",
                    _head("GET", "/drive", "Connection: Upgrade", "Upgrade: websocket"),
                    chance.randbytes(1000) + b"\r\n\r\n",
                )
            )
        )
        connection.half_close()
        return await _refused(connection)


async def pipelined(port: int, _: random.Random) -> tuple[str, str]:
    """Twenty requests at once: as many answers."""
    async with line(port) as connection:
        connection.send(_head("GET", "/health/live") * 20)
        said = [_expect(await connection.answer(), 200) for _ in range(20)]
        # The worst of them speaks for all.
        return max(said, key=lambda each: each[::-1])


HOSTILE_CONNECTIONS: Final[tuple[Harm, ...]] = (
    slow_body,
    cut_body,
    gone_in_the_body,
    gone_before_the_answer,
    half_closed,
    endless_body,
    long_head,
    slow_head,
    not_http,
    pipelined,
)
