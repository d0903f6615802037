from __future__ import annotations

import io
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.live_picture import LivePicture
from tests.app.asgi_socket import Socket, connect
from tests.app.conftest import Bench
from tests.conftest import build_actor, build_manifest
from training import rollout
from training.policy import Policy, weights_to_bytes
from training.rollout import drive
from training.store import PolicyRef

pytestmark = pytest.mark.anyio

FRAMES = 110
"""Of an episode in these tests; two seconds and a bit."""


@pytest.fixture(autouse=True)
def short_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "EPISODE_FRAMES", FRAMES)


@pytest.fixture
async def ref(bench: Bench) -> PolicyRef:
    """A policy that gives gas and steers by what it sees, loaded."""
    weights = weights_to_bytes(build_actor(seed=1, means=(0, 0.6, -1)))
    ref = bench.store.publish(build_manifest(weights), weights)
    await bench.ready()
    return ref


def offline(bench: Bench, ref: PolicyRef, seed: int) -> rollout.Episode:
    policy = Policy.from_published(bench.store.fetch(ref))
    return drive(policy, seed, simulator="fast")


async def watch(socket: Socket) -> tuple[dict[int, list[LivePicture]], dict[str, Any]]:
    """Watch to the end of a track as the page does: all pictures by lane, and the end."""
    lanes: dict[int, list[LivePicture]] = defaultdict(list)
    while True:
        message = await socket.receive()
        if isinstance(message, dict):
            assert message["type"] == "end"
            return lanes, message
        picture = LivePicture.unpack(message)
        lanes[picture.lane].append(picture)
        socket.send({"type": "seen", "frame": picture.frame})


async def test_a_policy_drives_as_offline(bench: Bench, ref: PolicyRef) -> None:
    expected = offline(bench, ref, 3)
    async with connect(bench.api, "mode=live&seed=3") as socket:
        assert await socket.text() == {
            "type": "start",
            "seed": 3,
            "tiles": expected.tiles,
            "fps": 25,
            "width": 480,
            "height": 320,
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
    assert end["lanes"] == [
        {
            "return": expected.score,
            "frames": FRAMES,
            "lap_finished": False,
            "tiles_left": expected.tiles_missed,
        }
    ]
    pictures = lanes[0]
    assert [picture.frame for picture in pictures] == list(range(0, FRAMES + 1, 2))
    assert [picture.over for picture in pictures] == [False] * (len(pictures) - 1) + [True]
    for number, picture in enumerate(pictures[1:]):
        controls = (picture.steering, picture.gas, picture.brake)
        assert controls == tuple(map(float, expected.actions[number // 2]))
    assert pictures[-1].score == pytest.approx(expected.score, abs=1e-3)
    assert pictures[-1].tiles_left == expected.tiles_missed
    assert {picture.tiles for picture in pictures} == {expected.tiles}
    assert pictures[0].speed < 1 < max(picture.speed for picture in pictures)
    shown = [np.asarray(Image.open(io.BytesIO(picture.picture))) for picture in pictures]
    assert {each.shape for each in shown} == {(320, 480, 3)}
    assert len({each.tobytes() for each in shown}) > 20
    views = [picture.view for picture in pictures]
    assert [bool(view) for view in views] == [
        number % 2 == 0 for number in range(len(views) - 1)
    ] + [True]
    assert Image.open(io.BytesIO(views[0])).size == (84, 84)
