from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.app.asgi_socket import Socket, connect
from tests.app.conftest import Bench, get_until, pictures
from tests.conftest import PublishPolicy, build_actor, build_manifest
from training.environment.actions import ActionFilter
from training.environment.pipeline import make_env
from training.evaluation.rollout import PolicyDriver, drive
from training.policy.acting import Policy, weights_to_bytes
from training.store.layout import PolicyRef

pytestmark = pytest.mark.anyio

DECISIONS = 30


@pytest.fixture
async def ref(bench: Bench) -> PolicyRef:
    """A policy with a filter, that gives gas and steers by what it sees; loaded."""
    weights = weights_to_bytes(build_actor(seed=1, means=(0, 0.6, -1)))
    smooth = ActionFilter(smooth_alpha=0.5, steer_deadzone=0.01, steer_clip=0.8)
    ref = bench.store.publish(build_manifest(weights, action_filter=smooth), weights)
    await bench.ready()
    return ref


@pytest.fixture
async def socket(bench: Bench, ref: PolicyRef) -> AsyncIterator[Socket]:
    """A connection whose first episode has begun."""
    async with connect(bench.api, "mode=frames") as socket:
        assert (await socket.text())["policy"] == ref.version
        yield socket


async def act(socket: Socket, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    socket.send(picture.tobytes())
    answer = await socket.binary()
    assert len(answer) == 12
    return np.frombuffer(answer, "<f4")


async def test_an_episode_begins_with_what_the_client_needs(bench: Bench, ref: PolicyRef) -> None:
    async with connect(bench.api, "mode=frames&policy=best") as socket:
        assert await socket.text() == {
            "type": "start",
            "policy": ref.version,
            "source": "storage",
            "frame_skip": 4,
            "size": 84,
            "stack": 4,
        }


async def test_raw_frames_of_a_stock_episode_get_the_actions_of_evaluation(
    bench: Bench, ref: PolicyRef, socket: Socket
) -> None:
    policy = Policy.from_published(bench.store.fetch(ref))
    expected = drive(policy, 3, simulator="stock", max_frames=4 * DECISIONS)
    stock = gym.make("CarRacing-v3")
    frame, _ = stock.reset(seed=3)
    for decision in range(DECISIONS):
        action = await act(socket, frame)
        np.testing.assert_array_equal(action, expected.actions[decision])
        for _ in range(4):
            frame, _, terminated, truncated, _ = stock.step(action)
            assert not terminated
            assert not truncated
    stock.close()  # type: ignore[no-untyped-call]
    assert len(np.unique(expected.actions[:, 0])) > DECISIONS // 2, "it steers by what it sees"


async def test_prepared_pictures_get_the_same_actions(
    bench: Bench, ref: PolicyRef, socket: Socket
) -> None:
    policy = Policy.from_published(bench.store.fetch(ref))
    expected = drive(policy, 3, simulator="fast", max_frames=40)
    env = make_env(scaled_rewards=False, stacked=False)
    picture, _ = env.reset(seed=3)
    for decision in range(10):
        action = await act(socket, picture)
        np.testing.assert_array_equal(action, expected.actions[decision])
        picture = env.step(action)[0]


async def test_a_reset_forgets_the_episode(socket: Socket) -> None:
    frames = [pictures(84, 84, seed=number) for number in range(3)]
    first = [await act(socket, frame) for frame in frames]
    went_on = [await act(socket, frame) for frame in frames]
    socket.send({"type": "reset"})
    assert (await socket.text())["type"] == "start"
    again = [await act(socket, frame) for frame in frames]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, went_on)


async def test_the_policy_stays_for_the_episode(
    bench: Bench, ref: PolicyRef, socket: Socket, publish_policy: PublishPolicy
) -> None:
    policy = Policy.from_published(bench.store.fetch(ref))
    driver = PolicyDriver(policy)
    frame = pictures(84, 84)
    stack = np.repeat(frame[..., None], 4, axis=-1)
    np.testing.assert_array_equal(await act(socket, frame), driver(stack))
    newer = publish_policy(bench.store, iteration=2)
    await get_until(bench, "/policy", newer.version)
    np.testing.assert_array_equal(await act(socket, frame), driver(stack))
    socket.send({"type": "reset"})
    assert (await socket.text())["policy"] == newer.version


async def test_a_seed_samples_each_decision_anew(bench: Bench, ref: PolicyRef) -> None:
    driver = PolicyDriver(Policy.from_published(bench.store.fetch(ref)), seed=11)
    frame = pictures(84, 84)
    stack = np.repeat(frame[..., None], 4, axis=-1)
    expected = [driver(stack) for _ in range(3)]
    async with connect(bench.api, "mode=frames&seed=11") as socket:
        for _ in range(2):
            await socket.text()
            actions = [await act(socket, frame) for _ in range(3)]
            np.testing.assert_array_equal(actions, expected)
            socket.send({"type": "reset"})


@pytest.mark.parametrize("length", [0, 84 * 84 - 1, 96 * 96])
async def test_a_picture_of_another_length_is_refused(socket: Socket, length: int) -> None:
    socket.send(bytes(length))
    closed = await socket.closed()
    assert closed.code == 4400
    for size in (length, 27648, 7056):
        assert str(size) in closed.reason


@pytest.mark.parametrize("length", [27_649, 65_537])
async def test_a_picture_that_is_too_long_is_refused(socket: Socket, length: int) -> None:
    socket.send(bytes(length))
    assert (await socket.closed()).code == 1009


@pytest.mark.parametrize(
    ("message", "code", "word"),
    [
        ({"type": "pause", "paused": True}, 4400, "message.type: "),
        ("reset", 4400, "message: "),
        ("é" * 2049, 1009, "4096"),
    ],
)
async def test_a_message_of_another_kind_is_refused(
    socket: Socket, message: Any, code: int, word: str
) -> None:
    socket.send(message)
    closed = await socket.closed()
    assert closed.code == code
    assert word in closed.reason


async def test_who_does_not_wait_for_actions_is_refused(
    socket: Socket,
) -> None:
    for _ in range(200):
        socket.send(bytes(84 * 84))
    closed = await socket.closed()
    assert closed.code == 4400
    assert "64" in closed.reason
