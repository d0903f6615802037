from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from app.driving.car import SimulatedCar
from app.driving.picture import LivePicture
from tests.app.asgi_socket import Socket, connect
from tests.app.conftest import Bench
from tests.conftest import PublishPolicy, build_actor, build_manifest
from training.evaluation import rollout
from training.evaluation.rollout import Episode, drive
from training.policy.acting import Policy, weights_to_bytes
from training.store.layout import PolicyRef

pytestmark = pytest.mark.anyio

FRAMES = 61
"""Of an episode in these tests, where they do not say otherwise."""

Lanes = dict[int, list[LivePicture]]


@pytest.fixture(autouse=True)
def short_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "EPISODE_FRAMES", FRAMES)


@pytest.fixture
def long_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "EPISODE_FRAMES", 1000)


@pytest.fixture
async def ref(bench: Bench) -> PolicyRef:
    """A policy that gives gas and steers by what it sees, loaded."""
    weights = weights_to_bytes(build_actor(seed=1, means=(0, 0.6, -1)))
    ref = bench.store.publish(build_manifest(weights, mean_return=50.0), weights)
    await bench.ready()
    return ref


def offline(bench: Bench, ref: PolicyRef, seed: int) -> Episode:
    return drive(Policy.from_published(bench.store.fetch(ref)), seed, simulator="fast")


async def picture(socket: Socket) -> LivePicture:
    return LivePicture.unpack(await socket.binary())


async def watch(socket: Socket) -> tuple[Lanes, dict[str, Any]]:
    """Watch to the end of a track as the page does: all pictures by lane, and the end."""
    lanes: Lanes = defaultdict(list)
    while True:
        message = await socket.receive()
        if isinstance(message, dict):
            assert message["type"] == "end"
            return lanes, message
        shown = LivePicture.unpack(message)
        lanes[shown.lane].append(shown)
        socket.send({"type": "seen", "frame": shown.frame})


async def until_quiet(socket: Socket) -> list[LivePicture]:
    """The pictures until none comes for a while."""
    shown: list[LivePicture] = []
    while True:
        await asyncio.sleep(0.3)
        if socket.nothing_more():
            return shown
        while not socket.nothing_more():
            shown.append(await picture(socket))


def ending(episode: Episode) -> dict[str, Any]:
    return {
        "return": episode.score,
        "frames": episode.frames,
        "lap_finished": episode.lap_finished,
        "tiles_left": episode.tiles_missed,
    }


async def test_a_policy_drives_as_offline(bench: Bench, ref: PolicyRef) -> None:
    expected = offline(bench, ref, 3)
    async with connect(bench.api, "mode=live&seed=3&width=300") as socket:
        assert await socket.text() == {
            "type": "start",
            "seed": 3,
            "tiles": expected.tiles,
            "fps": 25,
            "width": 300,
            "height": 200,
            "lanes": [
                {
                    "driver": "policy",
                    "policy": ref.version,
                    "source": "storage",
                    "iteration": 1,
                    "frame_skip": 4,
                }
            ],
        }
        lanes, end = await watch(socket)
    assert end["lanes"] == [ending(expected)]
    assert [shown.frame for shown in lanes[0]] == [*range(0, FRAMES, 2), FRAMES]


async def test_pictures_come_at_the_simulators_speed(bench: Bench, ref: PolicyRef) -> None:
    async with connect(bench.api, "mode=live") as socket:
        await socket.text()
        began = time.perf_counter()
        await watch(socket)
    assert time.perf_counter() - began > 0.95 * (FRAMES - 1) / 50


async def test_what_is_late_is_not_made_up_for(
    bench: Bench, ref: PolicyRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = SimulatedCar.drive_to

    def late(lane: SimulatedCar, frame: int) -> list[bytes]:
        if frame == 20:
            time.sleep(0.5)
        return until(lane, frame)

    monkeypatch.setattr(SimulatedCar, "drive_to", late)
    async with connect(bench.api, "mode=live") as socket:
        await socket.text()
        for _ in range(11):
            assert (await picture(socket)).frame <= 20
        began = time.perf_counter()
        await watch(socket)
    assert time.perf_counter() - began > 0.9 * (FRAMES - 1 - 20) / 50


async def test_two_policies_on_the_same_track(
    bench: Bench, ref: PolicyRef, publish_policy: PublishPolicy
) -> None:
    other = publish_policy(bench.store, iteration=2)
    query = f"mode=live&seed=4&policy={ref.version}&rival={other.version}"
    async with connect(bench.api, query) as socket:
        start = await socket.text()
        assert [lane["policy"] for lane in start["lanes"]] == [ref.version, other.version]
        lanes, end = await watch(socket)
    assert end["lanes"] == [ending(offline(bench, each, 4)) for each in (ref, other)]
    assert [shown.frame for shown in lanes[0]] == [shown.frame for shown in lanes[1]]


async def test_the_client_drives_against_a_policy(bench: Bench, ref: PolicyRef) -> None:
    async with connect(bench.api, "mode=live&seed=3&rival=you") as socket:
        start = await socket.text()
        assert start["lanes"][1] == {"driver": "you"}
        socket.send({"type": "controls", "steering": -0.25, "gas": 1, "brake": 0})
        lanes, end = await watch(socket)
    assert end["lanes"][0] == ending(offline(bench, ref, 3))
    mine = [(shown.steering, shown.gas, shown.brake) for shown in lanes[1]]
    assert (mine[0], mine[-1]) == ((0, 0, 0), (-0.25, 1, 0))
    assert lanes[1][-1].speed > 5
    assert not any(shown.view for shown in lanes[1])


async def test_the_client_drives_alone_without_any_policy(bench: Bench) -> None:
    async with connect(bench.api, "mode=live&policy=you") as socket:
        assert (await socket.text())["lanes"] == [{"driver": "you"}]
        lanes, end = await watch(socket)
    assert list(lanes) == [0]
    assert end["lanes"][0]["frames"] == FRAMES


@pytest.mark.usefixtures("long_episodes")
async def test_another_track_begins_at_once(bench: Bench, ref: PolicyRef) -> None:
    async def started(**changes: Any) -> dict[str, Any]:
        socket.send({"type": "track", **changes})
        start = await socket.until_text()
        assert (await picture(socket)).frame == 0
        return start

    async with connect(bench.api, "mode=live&seed=3") as socket:
        first = await socket.text()
        await picture(socket)
        second = await started(seed=4)
        assert (second["seed"], second["lanes"]) == (4, first["lanes"])
        third = await started(rival="you")
        assert (third["seed"], third["tiles"]) == (4, second["tiles"])
        assert third["lanes"] == [*first["lanes"], {"driver": "you"}]
        fourth = await started(policy="you", rival=None)
        assert fourth["lanes"] == [{"driver": "you"}]


async def test_another_track_after_the_end(bench: Bench, ref: PolicyRef) -> None:
    async with connect(bench.api, "mode=live&seed=3") as socket:
        await socket.text()
        await watch(socket)
        # Whatever was seen of the track before, is not of this one.
        socket.send({"type": "track", "seed": 4})
        socket.send({"type": "seen", "frame": FRAMES})
        assert (await socket.text())["seed"] == 4
        _, end = await watch(socket)
    assert end["lanes"] == [ending(offline(bench, ref, 4))]


@pytest.mark.usefixtures("long_episodes")
async def test_who_does_not_say_what_he_saw_gets_a_second_of_it(
    bench: Bench, ref: PolicyRef
) -> None:
    async with connect(bench.api, "mode=live") as socket:
        await socket.text()
        assert [(await picture(socket)).frame for _ in range(26)] == list(range(0, 51, 2))
        assert await until_quiet(socket) == []
        socket.send({"type": "seen", "frame": 6})
        assert [(await picture(socket)).frame for _ in range(3)] == [52, 54, 56]
        assert await until_quiet(socket) == []
        # Nobody has seen what was not sent.
        socket.send({"type": "seen", "frame": 10**9})
        assert [(await picture(socket)).frame for _ in range(25)] == list(range(58, 107, 2))
        assert await until_quiet(socket) == []


@pytest.mark.usefixtures("long_episodes")
async def test_a_pause_holds_the_car(bench: Bench, ref: PolicyRef) -> None:
    async with connect(bench.api, "mode=live") as socket:
        await socket.text()
        socket.send({"type": "pause", "paused": True})
        before = await until_quiet(socket)
        assert len(before) < 26
        socket.send({"type": "pause", "paused": False})
        after = await picture(socket)
        assert after.frame == (before[-1].frame + 2 if before else 0)


@pytest.mark.usefixtures("long_episodes")
async def test_a_track_ends_a_pause(bench: Bench, ref: PolicyRef) -> None:
    async with connect(bench.api, "mode=live") as socket:
        await socket.text()
        socket.send({"type": "pause", "paused": True})
        await until_quiet(socket)
        socket.send({"type": "track", "seed": 1})
        assert (await socket.text())["seed"] == 1
        assert [(await picture(socket)).frame for _ in range(3)] == [0, 2, 4]


@pytest.mark.usefixtures("long_episodes")
@pytest.mark.parametrize(
    ("message", "code", "word"),
    [
        (b"picture", 4400, "binary"),
        ({"type": "reset"}, 4400, "message.type: "),
        ({"type": "controls", "steering": 2, "gas": 0, "brake": 0}, 4400, "message.steering: "),
        ({"type": "track", "policy": "you", "rival": "you"}, 4400, "message: "),
        ({"type": "track", "policy": "v1"}, 4404, "'v1'"),
        (" " * 4097, 1009, "4096"),
    ],
)
async def test_what_is_not_of_the_protocol_closes_the_drive(
    bench: Bench, ref: PolicyRef, message: Any, code: int, word: str
) -> None:
    async with connect(bench.api, "mode=live") as socket:
        await socket.text()
        socket.send(message)
        closed = await socket.closed()
    assert closed.code == code
    assert word in closed.reason


@pytest.mark.usefixtures("long_episodes")
async def test_a_flood_of_messages_closes_the_drive(bench: Bench, ref: PolicyRef) -> None:
    async with connect(bench.api, "mode=live") as socket:
        await socket.text()
        for _ in range(20_000):
            socket.send({"type": "seen", "frame": 0})
        closed = await socket.closed()
    assert closed.code == 4400
    assert "500" in closed.reason


async def cancel(socket: Socket) -> None:
    socket.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await socket.task


async def go_wrong(socket: Socket) -> None:
    socket.send("?")
    await socket.closed()


@pytest.mark.usefixtures("long_episodes")
@pytest.mark.parametrize(
    "leave",
    [
        Socket.disconnect,
        cancel,
        go_wrong,
    ],
    ids=["disconnected", "cancelled", "closed"],
)
async def test_whoever_leaves_leaves_no_environment_open(
    bench: Bench,
    ref: PolicyRef,
    monkeypatch: pytest.MonkeyPatch,
    leave: Callable[[Socket], Any],
) -> None:
    made: list[SimulatedCar] = []
    closed: list[SimulatedCar] = []
    init, close = SimulatedCar.__init__, SimulatedCar.close

    def note(lane: SimulatedCar, *arguments: Any) -> None:
        made.append(lane)
        init(lane, *arguments)

    def note_close(lane: SimulatedCar) -> None:
        closed.append(lane)
        close(lane)

    monkeypatch.setattr(SimulatedCar, "__init__", note)
    monkeypatch.setattr(SimulatedCar, "close", note_close)
    async with connect(bench.api, "mode=live&rival=you") as socket:
        await socket.text()
        await picture(socket)
        socket.send({"type": "track", "seed": 1})
        await socket.until_text()
        await leave(socket)
    # The next drive's lanes are made in the same thread, after the others are closed.
    async with connect(bench.api, "mode=live&policy=you") as socket:
        await socket.text()
    assert len(made) == 5
    assert closed[:4] == made[:4]
