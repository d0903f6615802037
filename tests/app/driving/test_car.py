from __future__ import annotations

import io
import itertools
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from app.driving.car import ManualControls, SimulatedCar
from app.driving.picture import LivePicture
from app.policies.loading import LoadedPolicy
from tests.conftest import build_actor, build_policy
from training.environment.observation import Pipeline
from training.evaluation import rollout
from training.evaluation.rollout import Drive, drive
from training.policy.acting import Policy
from training.simulator import FastCarRacing
from training.store.layout import PolicyRef

FRAMES = 61
"""Of an episode in these tests."""
SIZE = (180, 120)


@pytest.fixture(autouse=True)
def short_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "EPISODE_FRAMES", FRAMES)


@pytest.fixture(scope="module")
def policy() -> Policy:
    """One that gives gas and steers by what it sees."""
    return build_policy(build_actor(seed=1, means=(0, 0.6, -1)), iteration=7)


@pytest.fixture
def loaded(policy: Policy) -> LoadedPolicy:
    ref = PolicyRef(run="run-a", version=policy.version)
    return LoadedPolicy(policy, ref, datetime.now(UTC), "bundled")


def finish(car: SimulatedCar) -> list[LivePicture]:
    """Drive to the end, as a live drive does."""
    pictures: list[LivePicture] = []
    frame = 0
    while not car.is_finished:
        due = [LivePicture.unpack(message) for message in car.drive_to(frame)]
        assert all(frame - 2 < picture.frame <= frame for picture in due)
        pictures += due
        frame += 2
    return pictures


def test_a_policys_lane_is_its_drive(policy: Policy, loaded: LoadedPolicy) -> None:
    expected = drive(policy, 3, simulator="fast")
    car = SimulatedCar(1, 3, loaded, SIZE)
    assert car.start().model_dump() == {
        "driver": "policy",
        "policy": policy.version,
        "source": "bundled",
        "iteration": 7,
        "frame_skip": 4,
    }
    pictures = finish(car)
    assert [picture.frame for picture in pictures] == [*range(0, FRAMES, 2), FRAMES]
    assert {picture.lane for picture in pictures} == {1}
    assert {picture.tiles for picture in pictures} == {expected.tiles}
    assert [picture.over for picture in pictures] == [False] * 31 + [True]
    for picture in pictures[1:]:
        driven = expected.actions[(picture.frame - 1) // 4]
        assert (picture.steering, picture.gas, picture.brake) == tuple(driven.tolist())
    assert pictures[0].score == 0
    assert pictures[-1].score == pytest.approx(expected.score, rel=1e-6)
    assert pictures[-1].tiles_left == expected.tiles_missed < pictures[0].tiles_left
    assert pictures[0].speed < 1 < pictures[-1].speed
    assert car.end().model_dump() == {
        "score": expected.score,
        "frames": FRAMES,
        "lap_finished": False,
        "tiles_left": expected.tiles_missed,
    }


def test_pictures_are_as_large_as_asked_for_and_move(loaded: LoadedPolicy) -> None:
    shown = []
    for picture in finish(SimulatedCar(0, 3, loaded, SIZE)):
        with Image.open(io.BytesIO(picture.picture)) as image:
            assert (image.size, image.mode) == (SIZE, "RGB")
            shown.append(np.asarray(image).astype(int))
    assert all((one != other).any() for one, other in itertools.pairwise(shown))


def test_the_policys_view_comes_when_it_is_new(loaded: LoadedPolicy) -> None:
    pictures = finish(SimulatedCar(0, 3, loaded, SIZE))
    with_view = [picture.frame for picture in pictures if picture.view]
    assert with_view == [*range(0, FRAMES, 4), FRAMES]
    with Image.open(io.BytesIO(pictures[0].view)) as image:
        assert (image.size, image.mode) == ((84, 84), "L")


def test_who_drives_by_hand_is_obeyed_within_a_picture() -> None:
    hands = ManualControls()
    car = SimulatedCar(0, 3, hands, SIZE)
    assert car.start().model_dump(exclude_none=True) == {"driver": "you"}
    told = [(0.0, 1.0, 0.0)] * 10 + [(-0.5, 0.25, 0.0)] * 10 + [(1.0, 0.0, 0.5)] * 11
    replay = iter(told)
    by_hand = Drive(
        lambda _: np.array(next(replay), np.float32),
        3,
        pipeline=Pipeline(frame_skip=2),
        simulator="fast",
    )
    car.drive_to(0)
    for number, controls in enumerate(told, 1):
        hands.set(*controls)
        (message,) = car.drive_to(2 * number)
        picture = LivePicture.unpack(message)
        by_hand.advance()
        assert (picture.steering, picture.gas, picture.brake) == controls
        assert picture.score == pytest.approx(by_hand.score, rel=1e-6)
        assert picture.view == b""
    assert car.is_finished
    assert by_hand.over
    assert car.end().score == by_hand.score > 0


def test_a_lap_that_is_finished_is_told(
    loaded: LoadedPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = property(lambda env: env.t > 0.3, lambda _, __: None)
    monkeypatch.setattr(FastCarRacing, "new_lap", soon, raising=False)
    car = SimulatedCar(0, 3, loaded, SIZE)
    pictures = finish(car)
    assert pictures[-1].frame < FRAMES
    assert [picture.lap_finished for picture in pictures] == [False] * (len(pictures) - 1) + [True]
    assert car.end().lap_finished
