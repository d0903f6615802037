from __future__ import annotations

import asyncio

import pytest

from app import drives as module
from app.drive_protocol import Close, DriveClosedError
from app.drives import Drives, until_first

pytestmark = pytest.mark.anyio


async def test_as_many_as_there_is_room_for() -> None:
    drives = Drives(2)
    with drives.enter():
        with drives.enter():
            assert drives.open == 2
            with pytest.raises(DriveClosedError, match="2 drives are open here") as caught:
                drives.enter().__enter__()
            assert caught.value.code == Close.TRY_AGAIN
        with drives.enter():
            assert drives.open == 2
    assert drives.open == 0


async def test_a_drive_that_fails_gives_its_place_up() -> None:
    drives = Drives(1)
    with pytest.raises(KeyError), drives.enter():
        raise KeyError
    assert drives.open == 0


async def test_all_are_sent_away_and_waited_for() -> None:
    drives = Drives(3)
    left = 0

    async def drive() -> None:
        nonlocal left
        with drives.enter():
            with pytest.raises(DriveClosedError, match="the service is going away") as caught:
                await drives.going_away()
            assert caught.value.code == Close.GOING_AWAY
            await asyncio.sleep(0.01)
            left += 1

    tasks = [asyncio.create_task(drive()) for _ in range(3)]
    await asyncio.sleep(0)
    assert drives.open == 3
    await drives.close()
    assert (drives.open, left) == (0, 3)
    await asyncio.gather(*tasks)
    with pytest.raises(DriveClosedError):
        await drives.going_away()


async def test_one_that_does_not_leave_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_LEAVE_S", 0.01)
    drives = Drives(1)
    with drives.enter():
        await drives.close()


async def test_the_first_to_end_ends_the_others() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("forever")

    async def soon() -> None:
        ended.append("soon")

    await until_first(forever(), soon())
    assert ended == ["soon", "forever"]


async def test_the_firsts_failure_is_raised() -> None:
    async def fail() -> None:
        raise KeyError("why")

    with pytest.raises(KeyError, match="why"):
        await until_first(asyncio.Event().wait(), fail())


async def test_who_is_cancelled_leaves_nothing_running() -> None:
    ended = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(until_first(forever(), asyncio.Event().wait()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
