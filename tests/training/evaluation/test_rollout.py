from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.box2d.car_racing import CarRacing
from numpy.typing import NDArray

from tests.conftest import build_actor, build_policy
from training.environment.actions import ActionFilter
from training.environment.observation import Pipeline, Pixels
from training.environment.pipeline import make_env
from training.evaluation import rollout
from training.evaluation.rollout import Camera, Drive, Episode, PolicyDriver, Shot, drive
from training.policy.acting import Policy

HARD_RIGHT = (1, 1, -1)


def constant_policy(outputs: Sequence[float], **fields: Any) -> Policy:
    """A policy whose network says the same whatever it sees."""
    actor = build_actor()
    head = actor.head[-1]
    assert isinstance(head, torch.nn.Linear)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([*outputs, 0, 0, 0]))
    return build_policy(actor, **fields)


@pytest.fixture(scope="module")
def driver() -> Policy:
    """A policy that gives gas and steers by what it sees."""
    return build_policy(build_actor(seed=1, means=(0, 0.6, -1)))


@pytest.fixture(scope="module")
def episode(driver: Policy) -> Episode:
    return drive(driver, seed=3, max_frames=150)


def same_episode(a: Episode, b: Episode) -> bool:
    return (
        (a.seed, a.score, a.frames, a.lap_finished) == (b.seed, b.score, b.frames, b.lap_finished)
        and (a.tiles, a.tiles_missed) == (b.tiles, b.tiles_missed)
        and np.array_equal(a.actions, b.actions)
        and np.array_equal(a.rewards, b.rewards)
    )


def test_a_drive_is_deterministic(driver: Policy, episode: Episode) -> None:
    assert same_episode(drive(driver, seed=3, max_frames=150), episode)


def test_both_simulators_pay_the_same_for_the_same_actions() -> None:
    blind = constant_policy((0.1, 0.5, -1))
    fast = drive(blind, seed=3, simulator="fast", max_frames=150)
    assert same_episode(fast, drive(blind, seed=3, simulator="stock", max_frames=150))


def test_another_seed_is_another_track(driver: Policy, episode: Episode) -> None:
    assert not same_episode(drive(driver, seed=4, max_frames=150), episode)


def test_an_episode_tells_every_decision(episode: Episode) -> None:
    assert episode.seed == 3
    assert episode.frames == 150
    assert episode.actions.shape == (38, 3)
    assert episode.actions.dtype == np.float32
    assert episode.rewards.shape == (38,)
    assert not episode.lap_finished


def test_the_score_is_what_the_stock_simulator_pays_for_the_actions(episode: Episode) -> None:
    stock = gym.make("CarRacing-v3")
    stock.reset(seed=episode.seed)
    paid: list[float] = []
    frames = itertools.islice((a for a in episode.actions for _ in range(4)), episode.frames)
    for action in frames:
        _, reward, terminated, truncated, _ = stock.step(action)
        assert not terminated
        assert not truncated
        paid.append(float(reward))
    rewards = [sum(paid[i : i + 4]) for i in range(0, len(paid), 4)]
    np.testing.assert_allclose(episode.rewards, rewards, rtol=0, atol=1e-12)
    assert episode.score == pytest.approx(sum(paid), abs=1e-9)
    assert episode.rewards.max() > 1, "no tile was visited"
    simulator: CarRacing = stock.unwrapped  # type: ignore[assignment]
    assert episode.tiles == len(simulator.track)
    assert episode.tiles - episode.tiles_missed == simulator.tile_visited_count > 0


@pytest.mark.parametrize(("max_frames", "decisions"), [(1, 1), (4, 1), (10, 3)])
def test_a_drive_stops_after_exactly_its_frames(
    driver: Policy, max_frames: int, decisions: int
) -> None:
    driven = drive(driver, seed=0, max_frames=max_frames)
    assert driven.frames == max_frames
    assert len(driven.actions) == decisions


def test_a_drive_is_never_longer_than_an_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "EPISODE_FRAMES", 12)
    assert drive(constant_policy((0, 0, 0)), seed=0, max_frames=5000).frames == 12


@pytest.mark.parametrize("max_frames", [0, -1])
def test_a_drive_without_frames_is_refused(driver: Policy, max_frames: int) -> None:
    with pytest.raises(ValueError, match=f"max_frames is {max_frames}"):
        drive(driver, seed=0, max_frames=max_frames)


def test_a_finished_lap_is_told(driver: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    envs: list[gym.Env[Any, Any]] = []

    def remember(*args: Any, **options: Any) -> gym.Env[Any, Any]:
        envs.append(make_env(*args, **options))
        return envs[-1]

    def finish(_: int) -> None:
        envs[-1].unwrapped.new_lap = True  # type: ignore[attr-defined]

    monkeypatch.setattr(rollout, "make_env", remember)
    driven = drive(driver, seed=0, max_frames=20, on_frames=finish)
    assert driven.lap_finished
    assert driven.frames == 5


def test_every_decision_is_announced_with_its_frames(driver: Policy) -> None:
    announced: list[int] = []
    drive(driver, seed=0, max_frames=10, on_frames=announced.append)
    assert announced == [4, 4, 2]


def test_the_policys_own_filter_is_used_unless_another_is_given() -> None:
    policy = constant_policy(HARD_RIGHT, action_filter=ActionFilter(steer_clip=0.5))
    own = drive(policy, seed=0, max_frames=8)
    other = drive(policy, seed=0, max_frames=8, action_filter=ActionFilter(steer_clip=0.25))
    none = drive(policy, seed=0, max_frames=8, action_filter=ActionFilter())
    for driven, steering in ((own, 0.5), (other, 0.25), (none, 1)):
        np.testing.assert_array_equal(driven.actions, [[steering, 1, 0]] * 2)


def test_each_drive_starts_its_filter_anew(driver: Policy) -> None:
    smooth = ActionFilter(smooth_alpha=0.2)
    first = drive(driver, seed=0, max_frames=12, action_filter=smooth)
    assert same_episode(drive(driver, seed=0, max_frames=12, action_filter=smooth), first)


def test_filming_does_not_change_the_drive(driver: Policy) -> None:
    shots: list[Shot] = []
    filmed = drive(driver, seed=3, max_frames=30, film_fps=25, shoot=shots.append)
    assert same_episode(filmed, drive(driver, seed=3, max_frames=30))
    assert {shot.picture.shape for shot in shots} == {(400, 600, 3)}
    assert all(shot.picture.dtype == np.uint8 for shot in shots)


def test_a_film_takes_every_frame_unless_a_rate_is_given(driver: Policy) -> None:
    shots: list[Shot] = []
    drive(driver, seed=0, max_frames=6, shoot=shots.append)
    assert [shot.frames for shot in shots] == [1] * 7


@pytest.mark.parametrize("fps", [0, -30, 51, math.nan])
def test_a_film_of_an_impossible_rate_is_refused(driver: Policy, fps: float) -> None:
    with pytest.raises(ValueError, match="fps is"):
        drive(driver, seed=0, max_frames=4, film_fps=fps, shoot=lambda _: None)


def test_anyone_can_drive_a_decision_at_a_time() -> None:
    seen: list[tuple[int, ...]] = []

    def full_gas(observation: Pixels) -> NDArray[np.float32]:
        seen.append(observation.shape)
        return np.array([0, 1, 0], np.float32)

    driven = Drive(full_gas, 3, pipeline=Pipeline(frame_skip=2), simulator="fast", max_frames=60)
    assert (driven.frames, driven.score, driven.over) == (0, 0, False)
    assert [driven.advance() for _ in range(29)] == [2] * 29
    assert (driven.frames, driven.over) == (58, False)
    driven.advance()
    assert (driven.frames, driven.over) == (60, True)
    episode = driven.episode()
    driven.close()
    assert seen == [(84, 84, 4)] * 30
    assert (episode.frames, len(episode.actions)) == (60, 30)
    assert episode.score == driven.score == sum(episode.rewards)
    assert episode.tiles > episode.tiles_missed > 0


def test_a_sampling_driver_counts_its_seeds(driver: Policy) -> None:
    observation = np.zeros(driver.observation_shape, np.uint8)
    sampling = PolicyDriver(driver, seed=7, action_filter=ActionFilter())
    for seed in (7, 8, 9):
        expected = driver.act(observation[None], seed=seed)[0]
        np.testing.assert_array_equal(sampling(observation), expected)


class Clock(gym.Env[Any, Any]):
    """Its picture shows the number of the frame."""

    def __init__(self) -> None:
        self.frame = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        self.frame = 0
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.frame += 1
        return self.frame, 0.0, False, False, {}

    def render(self) -> Any:
        return np.full((1, 1, 3), self.frame, np.uint16)


def film(fps: float, frames: int) -> tuple[list[int], list[int]]:
    """The frames that a film of some rate shows, and how long it shows each."""
    shots: list[Shot] = []
    camera = Camera(Clock(), fps, shots.append)
    camera.reset()
    for _ in range(frames):
        camera.step(0)

    def number(picture: Pixels) -> int:
        return int(picture[0, 0, 0])

    return [number(shot.picture) for shot in shots], [shot.frames for shot in shots]


@pytest.mark.parametrize("frames", [1, 500])
@pytest.mark.parametrize("fps", [50, 30, 12.5, 7])
def test_every_picture_is_shown_until_the_next_one(fps: float, frames: int) -> None:
    shown, durations = film(fps, frames)
    assert shown == [sum(durations[:i]) for i in range(len(durations))]
    assert sum(durations[:-1]) == shown[-1] <= frames
    assert frames < sum(durations) <= frames + math.ceil(50 / fps)


@pytest.mark.parametrize(
    ("fps", "expected"),
    [(50, [1] * 11), (25, [2] * 6), (12.5, [4] * 3), (30, [2, 1, 2, 2, 1, 2, 2])],
)
def test_pictures_are_shown_for_whole_frames(fps: float, expected: list[int]) -> None:
    assert film(fps, 10)[1] == expected


def test_a_film_at_thirty_has_thirty_pictures_a_second() -> None:
    shown, durations = film(30, 50 * 20 - 1)
    assert len(shown) == 30 * 20
    assert set(durations) == {1, 2}


def test_the_camera_starts_anew_with_every_episode() -> None:
    shots: list[Shot] = []
    camera = Camera(Clock(), 25, shots.append)
    for _ in range(2):
        camera.reset()
        for _ in range(3):
            camera.step(0)
    assert [int(shot.picture[0, 0, 0]) for shot in shots] == [0, 2, 0, 2]
