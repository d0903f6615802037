"""RLlib's default PPO module, connectors and learner for one of this project's recipes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.registry import register_env

from training.environment.observation import Pixels
from training.environment.pipeline import make_env
from training.recipe import Recipe

_ENV_NAME = "carracing_float"


class UnitPixels(gym.ObservationWrapper[NDArray[np.float32], Any, Pixels]):
    """Scales uint8 pixels to [0, 1] float32, because RLlib's default network takes no uint8."""

    def __init__(self, env: gym.Env[Pixels, Any]) -> None:
        super().__init__(env)
        shape = env.observation_space.shape
        self.observation_space = gym.spaces.Box(0.0, 1.0, shape, np.float32)

    def observation(self, observation: Pixels) -> NDArray[np.float32]:
        """One observation, (size, size, stack) float32."""
        return observation.astype(np.float32) / np.float32(255)


def make_float_env(recipe: Recipe, _context: Mapping[str, Any]) -> gym.Env[Any, Any]:
    """The recipe's environment with float observations; RLlib calls it."""
    return UnitPixels(make_env(recipe.pipeline, simulator=recipe.simulator))


def default_ppo(config: PPOConfig, recipe: Recipe) -> PPOConfig:
    """Replaces this project's classes in a configuration by RLlib's default ones."""
    register_env(_ENV_NAME, functools.partial(make_float_env, recipe))
    defaults = PPOConfig()
    network = recipe.network
    return (
        config.environment(_ENV_NAME, normalize_actions=True, clip_actions=False)
        .learners(learner_class=PPOTorchLearner, learner_config_dict={})
        .rl_module(
            rl_module_spec=RLModuleSpec(
                model_config=DefaultModelConfig(
                    conv_filters=[[c.filters, c.kernel, c.stride] for c in network.convolutions],
                    head_fcnet_hiddens=[network.hidden],
                    vf_share_layers=False,
                )
            )
        )
        .training(
            use_kl_loss=defaults.use_kl_loss,
            kl_coeff=defaults.kl_coeff,
            kl_target=defaults.kl_target,
            vf_clip_param=defaults.vf_clip_param,
        )
        .callbacks([])
    )
