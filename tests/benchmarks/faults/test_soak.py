from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from itertools import islice
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from app.api.routes.curve import CurveQuery
from app.driving.picture import LivePicture
from app.driving.protocol import Seen, Track, read_live_message
from benchmarks.faults import soak
from benchmarks.faults.soak import Options, Soak
from benchmarks.support.running import Running
from tests.support.waiting import PATIENCE_S

PICTURE = LivePicture(
    lane=0,
    frame=7,
    over=False,
    lap_finished=False,
    steering=0.0,
    gas=0.0,
    brake=0.0,
    speed=0.0,
    score=0.0,
    tiles_left=0,
    tiles=300,
    picture=b"",
    view=b"",
).pack()


@pytest.fixture
def soaking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Soak:
    monkeypatch.setattr(soak, "_DRIVE_S", 0.5)
    return Soak(Options(), Running(os.getpid(), 0, tmp_path))


def test_everything_is_asked_for_twice_and_is_valid(
    soaking: Soak, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()

    def answer(request: httpx.Request) -> httpx.Response:
        CurveQuery.model_validate(dict(request.url.params))
        asked[str(request.url)] += 1
        return httpx.Response(503 if len(asked) > 1 else 200)

    async def run() -> None:
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(base_url="http://car.test", transport=transport) as http:
            await soaking._get(http, "curve", "/curve.png?finetune_at={}")

    goes_on = iter([True, True, True, False])
    monkeypatch.setattr(soaking, "_goes_on", lambda: next(goes_on))
    asyncio.run(run())
    address = "http://car.test/curve.png?finetune_at="
    assert asked == {f"{address}1": 2, f"{address}2": 1}
    assert soaking.tally.asked == {"curve": 3}
    assert soaking.tally.failed == {("curve", "status 503"): 1}
    assert list(islice(soak.twice_each(), 5)) == [1, 1, 2, 2, 3]


def watched(soaking: Soak, *said: str | bytes) -> list[Track | Seen]:
    """What a drive that says this, and then nothing, is told until it is left."""
    told: list[Track | Seen] = []

    async def talk(connection: ServerConnection) -> None:
        for message in said:
            await connection.send(message)
        async for message in connection:
            assert isinstance(message, str)
            told.append(read_live_message(message))  # type: ignore[arg-type]

    async def run() -> None:
        async with serve(talk, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with connect(f"ws://127.0.0.1:{port}") as socket:
                await soaking._watch(socket)

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))
    return told


def test_where_both_cars_have_arrived_another_track_begins(soaking: Soak) -> None:
    start, end = (json.dumps({"type": each}) for each in ("start", "end"))
    assert watched(soaking, start) == []
    told = watched(soaking, start, PICTURE, end, end)
    assert [type(each) for each in told] == [Seen, Track, Track]
    assert told[0] == Seen(type="seen", frame=7)
