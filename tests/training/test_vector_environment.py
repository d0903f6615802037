from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from tests.training.picture_env import PictureEnv, make_picture_env
from training.actions import MapActions, to_controls
from training.environment import Pipeline, make_env
from training.seeds import environment_seeds
from training.vector_environment import VectorDriving

MakeEnv = Callable[..., gym.Env[Any, Any]]


def ours(count: int, make: MakeEnv = make_picture_env, stack: int = 4) -> VectorDriving:
    pipeline = Pipeline(stack=stack)
    return VectorDriving(
        functools.partial(make, pipeline, stacked=False),
        count,
        stack=stack,
        mapping="clip_unit_to_bounds",
    )


def gymnasiums(count: int, make: MakeEnv = make_picture_env, stack: int = 4) -> SyncVectorEnv:
    pipeline = Pipeline(stack=stack)
    return SyncVectorEnv([lambda: MapActions(make(pipeline))] * count)


def actions(count: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    while True:
        yield rng.normal(0, 1, (count, 3)).astype(np.float32)


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
        return
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)


def both(count: int, steps: int, make: MakeEnv, stack: int = 4) -> int:
    """Drive both through the same actions, compare everything, and count episodes' ends."""
    a, b = ours(count, make, stack), gymnasiums(count, make, stack)
    seeds: list[int | None] = list(range(100, 100 + count))
    expected: Any
    for x, y in zip(a.reset(seed=seeds), b.reset(seed=seeds), strict=True):
        assert_same(x, y)
    ends = 0
    for _, action in zip(range(steps), actions(count), strict=False):
        result, expected = a.step(action), b.step(action)
        for x, y in zip(result, expected, strict=True):
            assert_same(x, y)
        ends += int((result[2] | result[3]).sum())
    return ends


@pytest.mark.parametrize("stack", [1, 3, 4])
@pytest.mark.parametrize("count", [1, 3])
def test_it_steps_as_gymnasium_does(count: int, stack: int) -> None:
    assert both(count, 100, make_picture_env, stack) > 10


def test_it_steps_the_real_simulator_as_gymnasium_does() -> None:
    assert both(2, 14, functools.partial(make_env, max_frames=21)) == 4


def test_spaces_are_gymnasiums() -> None:
    a, b = ours(3), gymnasiums(3)
    for name in (
        "observation_space",
        "action_space",
        "single_observation_space",
        "single_action_space",
    ):
        assert getattr(a, name) == getattr(b, name)
    assert a.num_envs == b.num_envs
    assert a.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


def until_over(env: VectorDriving) -> NDArray[Any]:
    """Step until an environment's episode is over; which ones are."""
    for action in actions(env.num_envs):
        _, _, terminated, truncated, _ = env.step(action)
        over: NDArray[Any] = terminated | truncated
        if over.any():
            return over
    raise AssertionError


def test_the_action_after_an_end_is_dropped_and_the_next_episode_starts() -> None:
    env = ours(3)
    env.reset(seed=0)
    inner = [e for e in env.envs if isinstance(e, PictureEnv)]
    over = until_over(env)
    assert not over.all()
    driven = [len(e.controls) for e in inner]
    started = [len(e.seeds) for e in inner]
    action = np.full((3, 3), 0.5, np.float32)
    observations, rewards, terminated, truncated, _ = env.step(action)
    for i in range(3):
        assert len(inner[i].controls) == driven[i] + (not over[i])
        assert len(inner[i].seeds) == started[i] + over[i]
        if over[i]:
            assert (rewards[i], terminated[i], truncated[i]) == (0, False, False)
            for channel in range(3):
                np.testing.assert_array_equal(
                    observations[i, ..., channel], observations[i, ..., 3]
                )
    # Later episodes go on with the environment's own random numbers.
    assert all(e.seeds[1:] == [None] * (len(e.seeds) - 1) for e in inner)


def test_a_reset_starts_every_environment_again() -> None:
    env = ours(3)
    first, _ = env.reset(seed=0)
    until_over(env)
    again, _ = env.reset(seed=0)
    np.testing.assert_array_equal(first, again)
    _, _, _, _, info = env.step(next(actions(3)))
    np.testing.assert_array_equal(info["_frames"], [True] * 3)


def test_controls_are_the_one_mapping_of_the_outputs() -> None:
    env = ours(2)
    env.reset(seed=0)
    action = np.array([[-3, 0, 0.4], [0.1, 2, -0.2]], np.float32)
    env.step(action)
    for i, inner in enumerate(env.envs):
        assert isinstance(inner, PictureEnv)
        np.testing.assert_array_equal(inner.controls[0], to_controls(action[i]))


def test_an_observation_is_not_changed_by_later_steps() -> None:
    env = ours(2)
    kept = [env.reset(seed=0)[0]]
    copies = [kept[0].copy()]
    for _, action in zip(range(30), actions(2), strict=False):
        kept.append(env.step(action)[0])
        copies.append(kept[-1].copy())
    np.testing.assert_array_equal(kept, copies)


def test_a_seed_reaches_the_environments() -> None:
    def seeds(seed: Any) -> list[int | None]:
        env = ours(3)
        env.reset(seed=seed)
        return [e.seeds[0] for e in env.envs if isinstance(e, PictureEnv)]

    assert seeds(5) == environment_seeds(5, 3)
    assert seeds([7, 8, None]) == [7, 8, None]
    assert seeds(None) == [None, None, None]


def test_closing_closes_the_environments() -> None:
    env = ours(2)
    env.close()
    assert all(e.closed for e in env.envs if isinstance(e, PictureEnv))
