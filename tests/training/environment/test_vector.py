from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tests.training.rllib.picture_env import PictureEnv, make_picture_env
from training.environment.actions import MapActions, to_controls
from training.environment.observation import Pipeline
from training.environment.pipeline import make_env
from training.environment.vector import VectorDriving

MakeEnv = Callable[..., gym.Env[Any, Any]]


def ours(count: int, make: MakeEnv = make_picture_env) -> VectorDriving:
    return VectorDriving(
        functools.partial(make, Pipeline(), stacked=False), count, mapping="clip_unit_to_bounds"
    )


def gymnasiums(count: int, make: MakeEnv = make_picture_env) -> SyncVectorEnv:
    return SyncVectorEnv(
        [lambda: MapActions(make(Pipeline(), stacked=False))] * count,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )


def actions(count: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    while True:
        yield rng.normal(0, 1, (count, 3)).astype(np.float32)


def both(count: int, steps: int, make: MakeEnv) -> int:
    """Drive both through the same actions, compare what they return, and count episodes' ends."""
    a, b = ours(count, make), gymnasiums(count, make)
    seeds: list[int | None] = list(range(100, 100 + count))
    np.testing.assert_array_equal(a.reset(seed=seeds)[0], b.reset(seed=seeds)[0])
    ends = 0
    for _, action in zip(range(steps), actions(count), strict=False):
        *result, infos = a.step(action)
        expected: list[Any]
        *expected, expected_infos = b.step(action)
        for x, y in zip(result, expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-6)
        for i in np.flatnonzero(result[2] | result[3]):
            ends += 1
            np.testing.assert_array_equal(infos["final_obs"][i], expected_infos["final_obs"][i])
            final, expected_final = infos["final_info"], expected_infos["final_info"]
            assert final["frames"][i] == expected_final["frames"][i]
    return ends


@pytest.mark.parametrize("count", [1, 3])
def test_it_steps_as_gymnasium_does(count: int) -> None:
    assert both(count, 100, make_picture_env) > 10


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
    assert a.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


def test_later_episodes_go_on_with_the_environments_own_random_numbers() -> None:
    env = ours(3)
    env.reset(seed=0)
    for _, action in zip(range(30), actions(3), strict=False):
        env.step(action)
    inner = [e for e in env.envs if isinstance(e, PictureEnv)]
    assert all(len(e.seeds) > 2 for e in inner)
    assert all(e.seeds[1:] == [None] * (len(e.seeds) - 1) for e in inner)


def test_a_reset_starts_every_environment_again() -> None:
    env = ours(3)
    first, _ = env.reset(seed=0)
    for _, action in zip(range(5), actions(3), strict=False):
        env.step(action)
    again, _ = env.reset(seed=0)
    np.testing.assert_array_equal(first, again)


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

    assert seeds(5) == [5, 6, 7]
    assert seeds([7, 8, None]) == [7, 8, None]
    assert seeds(None) == [None, None, None]


def test_closing_closes_the_environments() -> None:
    env = ours(2)
    env.close()
    assert all(e.closed for e in env.envs if isinstance(e, PictureEnv))
