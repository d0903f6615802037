from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from app.driving.car import SimulatedCar
from app.driving.drives import Drives
from app.policies.finder import PolicyFinder
from app.policies.watcher import PolicyWatcher
from app.settings import Settings
from tests.app.asgi_socket import Socket, connect
from tests.app.conftest import Bench, open_bench
from tests.conftest import PublishPolicy
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ref(bench: Bench, publish_policy: PublishPolicy) -> PolicyRef:
    """Published and loaded."""
    ref = publish_policy(bench.store)
    await bench.ready()
    return ref


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "query.mode: "),
        ("mode=live&width=9999", "query.width: "),
        ("mode=frames&policy=../../etc", "query.policy: "),
        ("mode=frames&policy=%ff%00", "query.policy: "),
        ("mode=frames&" + "a" * 9000 + "=1", f"query.{'a' * 117}"),
    ],
)
async def test_bad_parameters_are_refused_by_name(bench: Bench, query: str, field: str) -> None:
    async with connect(bench.api, query) as socket:
        closed = await socket.closed()
    assert closed.code == 4400
    assert closed.reason.startswith(field)


@pytest.mark.parametrize("query", ["mode=frames&policy=v1", "mode=live&rival=v1"])
async def test_a_policy_that_there_is_not(bench: Bench, ref: PolicyRef, query: str) -> None:
    async with connect(bench.api, query) as socket:
        closed = await socket.closed()
    assert closed.code == 4404
    assert "'v1'" in closed.reason


@pytest.mark.parametrize("mode", ["frames", "live"])
async def test_before_there_is_a_policy(bench: Bench, mode: str) -> None:
    async with connect(bench.api, f"mode={mode}") as socket:
        closed = await socket.closed()
    assert closed.code == 1013
    assert bench.store.storage.root[:40] in closed.reason


async def test_while_storage_is_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: PolicyStore) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(PolicyStore, "listing", away)
    async with connect(bench.api, "mode=frames&policy=best") as socket:
        closed = await socket.closed()
    assert closed.code == 1013
    assert "storage" in closed.reason


async def test_what_was_not_foreseen_is_logged_and_not_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("a secret")

    monkeypatch.setattr(PolicyFinder, "find", fail)
    async with connect(bench.api, "mode=frames") as socket:
        closed = await socket.closed()
    assert closed.code == 1011
    assert "secret" not in closed.reason
    assert "a secret" in caplog.text


async def test_no_more_than_there_is_room_for(store: PolicyStore, watcher: PolicyWatcher) -> None:
    async with open_bench(Settings(drives_max=2), store, watcher) as bench:
        query = "mode=live&policy=you"
        async with connect(bench.api, query) as first, connect(bench.api, query) as second:
            for socket in (first, second):
                await socket.text()
            async with connect(bench.api, query) as third:
                closed = await third.closed()
            assert closed.code == 1013
            assert "2 drives" in closed.reason
            # One is free as soon as someone has left, however he did.
            await first.disconnect()
            async with connect(bench.api, query) as fourth:
                await fourth.text()
                fourth.task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await fourth.task
            async with connect(bench.api, query) as fifth:
                await fifth.text()


@pytest.mark.parametrize("query", ["mode=frames", "mode=live", "mode=live&policy=you"])
async def test_a_drive_from_which_nothing_comes_is_closed(
    store: PolicyStore, watcher: PolicyWatcher, publish_policy: PublishPolicy, query: str
) -> None:
    publish_policy(store)
    async with open_bench(Settings(drive_idle_s=0.2), store, watcher) as bench:
        await bench.ready()
        async with connect(bench.api, query) as socket:
            closed = await socket.closed()
    assert closed.code == 4408


async def test_all_are_sent_away_when_the_service_ends(
    bench: Bench, publish_policy: PublishPolicy
) -> None:
    publish_policy(bench.store)
    async with bench.api.router.lifespan_context(bench.api):
        sockets = [Socket(bench.api, f"mode={mode}") for mode in ("frames", "live")]
        for socket in sockets:
            await socket.accept()
            await socket.text()
    for socket in sockets:
        closed = await socket.closed()
        assert closed.code == 1001


async def test_a_drive_that_does_not_leave_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.driving.drives._CLOSE_S", 0.01)
    drives = Drives(1)
    with drives.enter():
        await drives.close()


async def test_the_event_loop_is_free_while_cars_are_simulated(
    bench: Bench, ref: PolicyRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = threading.Event(), threading.Event()
    until = SimulatedCar.drive_to

    def held(lane: SimulatedCar, frame: int) -> list[bytes]:
        inside.set()
        go_on.wait(60)
        return until(lane, frame)

    monkeypatch.setattr(SimulatedCar, "drive_to", held)
    async with connect(bench.api, "mode=live") as socket:
        await socket.text()
        assert await asyncio.to_thread(inside.wait, 60)
        assert (await bench.client.get("/health/ready")).status_code == 200
        go_on.set()
        await socket.binary()
