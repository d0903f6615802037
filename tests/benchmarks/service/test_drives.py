from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.service.drives import Trips, drive_all


def driven(action: bytes) -> tuple[Trips, Counter[int]]:
    """Trips of three connections to a server that answers with this, and what sizes it got."""
    sizes: Counter[int] = Counter()

    async def talk(connection: ServerConnection) -> None:
        await connection.send(json.dumps({"type": "start"}))
        async for message in connection:
            sizes[len(message)] += 1
            await connection.send(action)

    async def run() -> Trips:
        async with serve(talk, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            return await drive_all(f"ws://127.0.0.1:{port}", "raw", 3, 0.5)

    return asyncio.run(run()), sizes


def test_every_trip_is_a_picture_and_an_action() -> None:
    trips, sizes = driven(bytes(12))
    assert sizes == {27_648: round(trips.rate * 0.5)}
    assert trips.rate > 0
    assert 0 < trips.p50_ms <= trips.p99_ms
    assert trips.own_ms > 0


def test_anything_else_is_no_action() -> None:
    with pytest.raises(ValueError, match="no action"):
        driven(b"no")
