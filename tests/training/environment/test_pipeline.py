from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

from training.environment.observation import Pipeline
from training.environment.pipeline import Simulator, make_env

GAS = np.array([0, 1, 0], np.float32)


@pytest.mark.filterwarnings(
    # It wants the bare environment, controls symmetric to zero, and a registered name.
    "ignore:.*different from the unwrapped version:UserWarning",
    "ignore:.*recommend using a symmetric and normalized space:UserWarning",
    "ignore:.*alternative render modes:UserWarning",
)
def test_gymnasiums_own_checker_passes() -> None:
    check_env(make_env(render_mode="rgb_array"))


def test_observations_and_actions_are_what_the_spaces_say() -> None:
    env = make_env()
    observation, _ = env.reset(seed=0)
    assert env.observation_space == gym.spaces.Box(0, 255, (84, 84, 4), np.uint8)
    assert observation in env.observation_space
    assert GAS in env.action_space


def test_an_episode_starts_with_its_first_picture_repeated() -> None:
    env = make_env()
    env.reset(seed=0)
    env.step(GAS)
    observation, _ = env.reset(seed=1)
    for channel in range(1, 4):
        np.testing.assert_array_equal(observation[..., channel], observation[..., 0])


def test_a_step_pushes_one_picture_at_the_end() -> None:
    env = make_env()
    before, _ = env.reset(seed=0)
    after, *_ = env.step(GAS)
    np.testing.assert_array_equal(after[..., :3], before[..., 1:])
    assert not np.array_equal(after[..., 3], before[..., 3])


def test_an_observation_is_not_changed_by_later_steps() -> None:
    env = make_env()
    observation, _ = env.reset(seed=0)
    copy = observation.copy()
    env.step(GAS)
    np.testing.assert_array_equal(observation, copy)


def test_environments_do_not_disturb_each_other() -> None:
    def drive_alone(seed: int) -> list[NDArray[np.uint8]]:
        env = make_env()
        return [env.reset(seed=seed)[0], *(env.step(GAS)[0] for _ in range(10))]

    alone = drive_alone(0), drive_alone(1)
    first, second = make_env(), make_env()
    together: tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]] = (
        [first.reset(seed=0)[0]],
        [second.reset(seed=1)[0]],
    )
    for _ in range(10):
        together[0].append(first.step(GAS)[0])
        together[1].append(second.step(GAS)[0])
    np.testing.assert_array_equal(alone, together)


def test_a_seed_gives_the_same_track_and_another_seed_another() -> None:
    def track(seed: int) -> list[Any]:
        env = make_env()
        env.reset(seed=seed)
        tiles: list[Any] = env.unwrapped.track  # type: ignore[attr-defined]
        return tiles

    assert track(7) == track(7)
    assert track(7) != track(8)


def test_scores_are_taken_from_unscaled_rewards() -> None:
    scaled, unscaled = make_env(), make_env(scaled_rewards=False)
    for env in (scaled, unscaled):
        env.reset(seed=0)
    for _ in range(5):
        _, small, *_ = scaled.step(GAS)
        _, full, *_ = unscaled.step(GAS)
        assert float(small) == float(full) * 0.1


def test_a_wrapper_inside_the_skip_meets_every_frame() -> None:
    class Count(gym.Wrapper[Any, Any, Any, Any]):
        steps = 0

        def step(self, action: Any) -> Any:
            self.steps += 1
            return self.env.step(action)

    counters: list[Count] = []

    def count(env: gym.Env[Any, Any]) -> Count:
        counters.append(Count(env))
        return counters[0]

    env = make_env(each_frame=count, max_frames=10)
    env.reset(seed=0)
    while not env.step(GAS)[3]:
        pass
    assert counters[0].steps == 10


@pytest.mark.parametrize("simulator", ["fast", "stock"])
def test_filming_does_not_change_what_the_driver_sees(simulator: Simulator) -> None:
    filmed = make_env(simulator=simulator, render_mode="rgb_array")
    plain = make_env(simulator=simulator)
    for env in (filmed, plain):
        env.reset(seed=0)
    for _ in range(5):
        picture: Any = filmed.render()
        assert picture.shape == (400, 600, 3)
        np.testing.assert_array_equal(filmed.step(GAS)[0], plain.step(GAS)[0])


def test_another_pipeline_gives_another_shape() -> None:
    pipeline = Pipeline(frame_skip=2, size=42, stack=3)
    env = make_env(pipeline)
    observation, _ = env.reset(seed=0)
    assert observation.shape == pipeline.observation_shape == (42, 42, 3)
    assert env.step(GAS)[4]["frames"] == 2


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("frame_skip", 0),
        ("size", -84),
        ("stack", 0),
        ("reward_scale", 0),
        ("reward_scale", float("nan")),
    ],
)
def test_a_pipeline_refuses_numbers_that_none_can_have(number: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{number} is {value}"):
        Pipeline(**{number: value})
