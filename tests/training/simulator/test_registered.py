"""FastCarRacing-v3, as anyone's code makes it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pygame
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as check_for_stable_baselines
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecFrameStack

from training.simulator import FastCarRacing

ID = "training.simulator:FastCarRacing-v3"


@pytest.mark.parametrize("continuous", [True, False])
@pytest.mark.parametrize("render_mode", [None, "rgb_array", "state_pixels"])
@pytest.mark.filterwarnings(
    # Of stock as well: controls are not symmetric to zero.
    "ignore:.*recommend using a symmetric and normalized space:UserWarning",
)
def test_gymnasiums_own_checker_passes(continuous: bool, render_mode: str | None) -> None:
    check_env(gym.make(ID, continuous=continuous, render_mode=render_mode).unwrapped)


def test_it_has_the_limits_and_the_arguments_of_carracing_v3() -> None:
    ours, stocks = gym.spec("FastCarRacing-v3"), gym.spec("CarRacing-v3")
    assert ours.max_episode_steps == stocks.max_episode_steps
    assert ours.reward_threshold == stocks.reward_threshold
    env: Any = gym.make(ID, lap_complete_percent=0.5, continuous=False).unwrapped
    assert isinstance(env, FastCarRacing)
    assert env.lap_complete_percent == 0.5
    assert env.action_space == gym.spaces.Discrete(5)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_make_vec_drives_as_carracing_v3_does(mode: str) -> None:
    fast, stock = (gym.make_vec(name, 2, mode) for name in (ID, "CarRacing-v3"))
    fast.reset(seed=3)
    stock.reset(seed=3)
    fast.action_space.seed(0)
    for _ in range(20):
        actions = fast.action_space.sample()
        pictures, *ends, _ = fast.step(actions)
        expected, *expected_ends, _ = stock.step(actions)
        for end, expected_end in zip(ends, expected_ends, strict=True):
            np.testing.assert_array_equal(end, expected_end)
        assert np.abs(pictures - expected.astype(np.int16)).mean() < 0.3
    fast.close()
    stock.close()


def test_discrete_actions_drive_as_carracing_v3s() -> None:
    fast, stock = (gym.make(name, continuous=False) for name in (ID, "CarRacing-v3"))
    fast.reset(seed=4)
    stock.reset(seed=4)
    for action in [3] * 20 + [1, 2, 0, 4, 3] * 8:
        picture, *end = fast.step(action)
        expected, *expected_end = stock.step(action)
        assert end == expected_end
        assert np.abs(picture - expected.astype(np.int16)).mean() < 0.3


def window() -> NDArray[np.uint8]:
    """What the window shows, (1000, 800, 3)."""
    surface = pygame.display.get_surface()
    assert surface is not None
    return pygame.surfarray.array3d(surface)


def test_the_window_is_carracing_v3s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    shown: list[list[NDArray[np.uint8]]] = []
    for name in (ID, "CarRacing-v3"):
        env = gym.make(name, render_mode="human")
        env.reset(seed=5)
        pictures = [window()]
        for _ in range(12):
            env.step(np.array((0.3, 1, 0), np.float32))
            pictures.append(window())
        shown.append(pictures)
        env.close()  # type: ignore[no-untyped-call]
        assert not pygame.display.get_init()
    np.testing.assert_array_equal(shown[0], shown[1])
    assert not np.array_equal(shown[0][0], shown[0][-1])


def test_a_closed_window_opens_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = FastCarRacing("human")
    env.reset(seed=6)
    first = window()
    env.close()
    env.reset(seed=6)
    np.testing.assert_array_equal(window(), first)
    env.close()


@pytest.mark.filterwarnings("ignore:.*recommend you to use a symmetric and normalized:UserWarning")
def test_stable_baselines_checks_and_trains_it() -> None:
    check_for_stable_baselines(gym.make(ID, domain_randomize=True).unwrapped)
    envs = VecFrameStack(make_vec_env(ID, n_envs=2, seed=0), 4)
    model = PPO("CnnPolicy", envs, n_steps=32, batch_size=32, n_epochs=1, device="cpu")
    model.learn(128)
    assert model.num_timesteps == 128
    actions, _ = model.predict(np.asarray(envs.reset()))
    assert actions.shape == (2, 3)
    envs.close()
