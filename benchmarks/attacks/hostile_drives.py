"""Hostile WebSockets: invalid messages, floods, and disconnects at every point."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from benchmarks.attacks.malice import Harm
from benchmarks.attacks.wire import HOST

_CLOSED_S: Final = 120.0
_NO_ROOM: Final = (1013, 503)
"""As a replica closes a drive, and as it is refused before."""
_KNOCKING: Final = 24
_RAW: Final = bytes(96 * 96 * 3)
_CONTROLS: Final = '{{"type": "controls", "steering": {}, "gas": 0, "brake": 0}}'
_PAUSE: Final = '{"type": "pause", "paused": true}'
_HAND: Final = "mode=live&policy=you"


def _cases() -> Sequence[tuple[str, Sequence[str | bytes], Sequence[int]]]:
    """Query, messages, and the codes of which one is to close it."""
    # Where all of it is taken in time, nothing more comes, and it is closed for that.
    flooded = (4400, 4408)
    return (
        ("", (), (4400,)),
        ("mode=other", (), (4400,)),
        ("mode=frames&seed=-1", (), (4400,)),
        ("mode=live&seed=2147483648", (), (4400,)),
        ("mode=live&width=100000", (), (4400,)),
        ("mode=live&policy=you&rival=you", (), (4400,)),
        ("mode=frames&policy=..%2f..%2fetc", (), (4400,)),
        ("mode=frames&policy=%00", (), (4400,)),
        ("mode=frames&" + "a" * 7000, (), (4400,)),
        ("mode=frames&policy=absent", (), (4404,)),
        ("mode=frames", (b"",), (4400,)),
        ("mode=frames", (bytes(27_649),), (1009,)),
        ("mode=frames", (bytes(1 << 20),), (1009,)),
        ("mode=frames", (bytes(17 << 20),), (1009, 4408)),
        ("mode=frames", ("x" * 5000,), (1009,)),
        ("mode=frames", ("[" * 4000,), (4400,)),
        ("mode=frames", (_PAUSE,), (4400,)),
        ("mode=frames", (_RAW,) * 1000, flooded),
        (_HAND, (b"x",), (4400,)),
        (_HAND, ("x" * (17 << 20),), (1009, 4408)),
        (_HAND, (_CONTROLS.format("1e400"),), (4400,)),
        (_HAND, (_CONTROLS.format("NaN"),), (4400,)),
        (_HAND, (_CONTROLS.format("9" * 4000),), (4400,)),
        (_HAND, ('{"type": "seen", "frame": -1}',), (4400,)),
        (_HAND, ('{"type": "track", "seed": 2147483648}',), (4400,)),
        (_HAND, ('{"type": "track", "policy": "absent"}',), (4404,)),
        (_HAND, (_PAUSE,) * 2000, flooded),
    )


def _address(port: int, query: str) -> str:
    return f"ws://{HOST}:{port}/drive?{query}"


def _connection(address: str) -> connect:
    """One that is not closed from here, however long or slow it is."""
    return connect(address, max_size=None, open_timeout=_CLOSED_S, ping_interval=None)


def _code(end: ConnectionClosed | InvalidStatus) -> int:
    """How a drive was closed, or the status with which it was not opened."""
    if isinstance(end, InvalidStatus):
        return end.response.status_code
    return end.rcvd.code if end.rcvd else 1006


def ended(end: ConnectionClosed | InvalidStatus) -> tuple[str, str]:
    """The answer, and the fault, of a drive that only lack of room may end."""
    code = _code(end)
    return f"{code}", "" if code in _NO_ROOM else f"closed with {code}"


async def against_the_protocol(port: int, chance: random.Random) -> tuple[str, str]:
    """What is not of the protocol is closed with the code that says so."""
    query, messages, codes = chance.choice(_cases())
    closed = await _closed(_address(port, query), messages)
    if closed in (*codes, *_NO_ROOM):
        return f"{closed}", ""
    about = f"{query[:40]!r}, {len(messages)} messages such as {messages[:1]!r:.40}"
    return f"{closed}", f"{about}: closed with {closed}; it must be {codes[0]}"


async def _closed(address: str, messages: Sequence[str | bytes]) -> int | str:
    """Say all, whatever is said back; the code that it is closed with, or what else happened."""
    try:
        async with asyncio.timeout(_CLOSED_S), _connection(address) as socket:

            async def say() -> None:
                with suppress(ConnectionClosed):
                    for message in messages:
                        await socket.send(message)

            saying = asyncio.create_task(say())
            try:
                while True:
                    await socket.recv()
            except ConnectionClosed as closed:
                return _code(closed)
            finally:
                saying.cancel()
                await asyncio.gather(saying, return_exceptions=True)
    except InvalidStatus as error:
        return _code(error)
    except (TimeoutError, OSError, WebSocketException) as error:
        return repr(error)


async def left(port: int, chance: random.Random) -> tuple[str, str]:
    """Connections that are cut or half closed, before or after something was said."""
    query = chance.choice(("mode=frames", "mode=live", _HAND))
    try:
        async with _connection(_address(port, query)) as socket:
            if chance.random() < 0.5:
                await socket.recv()
                await socket.send(_RAW if query == "mode=frames" else _PAUSE)
            if chance.random() < 0.5:
                with suppress(OSError):
                    socket.transport.write_eof()
                await asyncio.sleep(1.0)
            socket.transport.abort()
    except (ConnectionClosed, InvalidStatus) as end:
        return ended(end)
    return "left", ""


async def unread(port: int, chance: random.Random) -> tuple[str, str]:
    """A drive that says to have seen everything, and reads nothing beyond the start."""
    try:
        async with _connection(_address(port, "mode=live&width=600")) as socket:
            await socket.recv()
            socket.transport.pause_reading()
            await _say_seen(socket, chance)
            socket.transport.abort()
    except (ConnectionClosed, InvalidStatus) as end:
        return ended(end)
    return "left", ""


async def _say_seen(socket: ClientConnection, chance: random.Random) -> None:
    for number in range(50):
        await socket.send('{"type": "seen", "frame": 1000000}')
        if number % 25 == 24:
            await socket.send(json.dumps({"type": "track", "seed": chance.randrange(2**31)}))
        await asyncio.sleep(0.1)


async def crowd(port: int, _: random.Random) -> tuple[str, str]:
    """More drives at once than there is room for: all are let in or told so."""

    async def knock() -> int:
        try:
            async with asyncio.timeout(_CLOSED_S), _connection(_address(port, _HAND)) as socket:
                await socket.recv()
                await asyncio.sleep(0.5)
                return 0
        except (ConnectionClosed, InvalidStatus) as end:
            return _code(end)

    codes = Counter(await asyncio.gather(*(knock() for _ in range(_KNOCKING))))
    answer = f"{sum(codes[code] for code in _NO_ROOM)} of {_KNOCKING} refused"
    # Whose track was not built before they were long idle.
    wrong = set(codes) - {0, *_NO_ROOM, 4408}
    return answer, f"{_KNOCKING} drives at once: closed with {sorted(wrong)}" if wrong else ""


HOSTILE_DRIVES: Final[tuple[Harm, ...]] = (*(against_the_protocol,) * 6, left, unread)
