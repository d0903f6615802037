"""RLlib's PPO, set up from a recipe and a share of the cluster."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
from ray import tune
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune.registry import register_env

from training.environment.actions import MapActions
from training.environment.coaching import Coached
from training.environment.pipeline import Wrap, make_env
from training.environment.seeds import spread
from training.environment.vector import VectorDriving
from training.recipe import Choice, LogUniform, Recipe
from training.rllib.learning.learner import ADAM_EPSILON, PRECISION, DrivingLearner
from training.rllib.module import module_spec
from training.rllib.phases import PhaseCallback
from training.rllib.resources import Resources
from training.rllib.sampling.env_runner import DrivingEnvRunner
from training.rllib.sampling.fresh_tracks import FreshTracks
from training.rllib.sampling.returns import ReportReturns

ENV_NAME = "carracing_pixels"

_MAIN_CPUS = 0.05
_ENV_RUNNER_CPUS = 1 - _MAIN_CPUS
"""A trial with n env runners reserves at most n CPUs: its main process works while they wait. It
cannot reserve nothing, because Tune drops such a bundle and RLlib then counts bundles wrongly."""

_SAMPLE_TIMEOUT_S = 3600.0
"""RLlib throws away a batch that takes longer, 60 s as it comes, and trains on nothing."""


def coach(recipe: Recipe) -> Wrap:
    """The wrapper of the recipe's coaching."""
    return functools.partial(Coached, coaching=recipe.coaching)


def make_training_env(recipe: Recipe) -> gym.Env[Any, Any]:
    """The environment as the learner meets it: actions are network outputs, rewards are scaled."""
    env = make_env(recipe.pipeline, simulator=recipe.simulator, each_decision=coach(recipe))
    return MapActions(env, recipe.action_mapping)


def make_vector_env(recipe: Recipe, count: int) -> VectorDriving:
    """As many of these environments side by side, for one env runner."""
    return VectorDriving(
        functools.partial(
            make_env,
            recipe.pipeline,
            simulator=recipe.simulator,
            each_decision=coach(recipe),
            stacked=False,
        ),
        count,
        mapping=recipe.action_mapping,
    )


def make_registered_env(
    recipe: Recipe, context: Mapping[str, Any]
) -> gym.Env[Any, Any] | VectorDriving:
    """What RLlib calls: with ``num_envs`` in the context where it wants a vector environment."""
    if "num_envs" in context:
        return make_vector_env(recipe, context["num_envs"])
    return make_training_env(recipe)


def search_space(recipe: Recipe) -> dict[str, Any]:
    """The recipe's search ranges as Tune takes them, by hyperparameter."""
    space: dict[str, Any] = {}
    for name, domain in recipe.search.items():
        match domain:
            case LogUniform(low, high):
                space[name] = tune.loguniform(low, high)
            case Choice(values):
                space[name] = tune.choice(list(values))
    return space


def build_config(
    recipe: Recipe,
    resources: Resources,
    *,
    seed: int | None = None,
    searching: bool = False,
    batched: bool = True,
) -> PPOConfig:
    """PPO for one trial, or for every trial of a search.

    Args:
        recipe: What to train with.
        resources: What a trial takes of the cluster.
        seed: Of environments, sampling and initial weights; runs whose seeds differ have none of
            their random numbers in common.
        searching: Put the recipe's search ranges in place of its defaults.
        batched: Sample with ``training.rllib.sampling.env_runner``, and learn with
            ``training.rllib.learning.learner``. False for RLlib's own env runner, connectors and
            update, which are slower and whose environments' seeds count on from ``seed``, unlike
            those of ``training.environment.seeds``.
    """
    register_env(ENV_NAME, functools.partial(make_registered_env, recipe))
    training: dict[str, Any] = {
        "lr": recipe.lr,
        "entropy_coeff": recipe.entropy_coeff,
        "train_batch_size_per_learner": recipe.train_batch_size_per_learner,
        "minibatch_size": recipe.minibatch_size,
        "num_epochs": recipe.num_epochs,
    }
    if searching:
        training |= search_space(recipe)
    config = (
        PPOConfig()
        .environment(
            ENV_NAME,
            # The mapping from network outputs to controls is the environment's outermost wrapper.
            normalize_actions=False,
            clip_actions=False,
        )
        .env_runners(
            num_env_runners=resources.num_env_runners,
            num_cpus_per_env_runner=_ENV_RUNNER_CPUS,
            num_envs_per_env_runner=recipe.num_envs_per_env_runner,
            rollout_fragment_length="auto",
            sample_timeout_s=_SAMPLE_TIMEOUT_S,
        )
        # Sampling and learning alternate, so a learner gains nothing from a process of its own.
        .learners(
            num_learners=0,
            num_cpus_per_learner=_MAIN_CPUS,
            num_gpus_per_learner=resources.gpus_per_learner,
            learner_config_dict={ADAM_EPSILON: recipe.adam_epsilon, PRECISION: recipe.precision},
        )
        .resources(num_cpus_for_main_process=_MAIN_CPUS)
        .fault_tolerance(restart_failed_env_runners=True)
        .rl_module(
            rl_module_spec=module_spec(
                recipe.description(), critic=recipe.critic, initialization=recipe.initialization
            )
        )
        .training(
            **training,
            gamma=recipe.gamma,
            lambda_=recipe.gae_lambda,
            clip_param=recipe.clip_param,
            vf_loss_coeff=recipe.vf_loss_coeff,
            vf_clip_param=recipe.vf_clip_param,
            grad_clip=recipe.grad_clip,
            use_kl_loss=recipe.kl_coeff > 0,
            kl_coeff=recipe.kl_coeff,
            kl_target=recipe.kl_target,
        )
        .callbacks([ReportReturns, FreshTracks, functools.partial(PhaseCallback, recipe)])
        .debugging(seed=None if seed is None else spread(seed), log_level="ERROR")
    )
    if not batched:
        return config
    # There are no connectors whose states would have to be exchanged after each iteration.
    return config.learners(
        learner_class=DrivingLearner, add_default_connectors_to_learner_pipeline=False
    ).env_runners(
        env_runner_cls=DrivingEnvRunner,
        gym_env_vectorize_mode="vector_entry_point",
        merge_env_runner_states=False,
        broadcast_env_runner_states=False,
        episode_lookback_horizon=recipe.pipeline.stack - 1,
    )
