"""Explore → finetune: the switch of learning rate, entropy bonus, clip range and coaching."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from training.environment.coaching import Coaching
from training.recipe import Recipe
from training.rllib.learning.learner import Coefficients, DrivingLearner


class PhaseCallback(RLlibCallback):  # type: ignore[misc]
    """Switches phases once ``recipe.finetune_at`` iterations are trained, and reports both.

    Learning rate, entropy coefficient and clip range are functions of the trial's configuration and
    the iteration, and are applied before each iteration: there is no state to restore.

    Adds to every result: ``phase``, ``lr``, ``entropy_coeff`` and ``clip_param`` as they were in
    force in that iteration, and the learner's ``precision``.
    """

    _exploring: Coefficients
    """As the trial begins: a search puts its own values in place of the recipe's."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self._recipe = recipe

    def on_algorithm_init(self, *, algorithm: Algorithm, **_: Any) -> None:
        """Let a learner on the CPU use the cores that env runners leave idle while it learns."""
        if algorithm.config.num_gpus_per_learner == 0:
            # Ray gives a process as many threads as it reserves CPUs, here one.
            torch.set_num_threads(max(1, algorithm.config.num_env_runners))
        self._exploring = Coefficients(
            lr=algorithm.config.lr,
            entropy_coeff=algorithm.config.entropy_coeff,
            clip_param=algorithm.config.clip_param,
        )
        self._prepare(algorithm, 1)

    def on_checkpoint_loaded(self, *, algorithm: Algorithm, **_: Any) -> None:
        """Apply what is in force in the iteration after the checkpoint."""
        self._prepare(algorithm, algorithm.iteration + 1)

    def on_env_runners_recreated(
        self, *, algorithm: Algorithm, env_runner_group: EnvRunnerGroup, **_: Any
    ) -> None:
        """Coach those that replace lost ones."""
        self._coach(env_runner_group, algorithm.iteration + 1)

    def on_train_result(self, *, algorithm: Algorithm, result: dict[str, Any], **_: Any) -> None:
        """Report what was in force, then apply what is in force in the next iteration."""
        iteration = result["training_iteration"]
        learners = algorithm.learner_group
        in_force = next(iter(learners.foreach_learner(DrivingLearner.coefficients))).get()
        result["precision"] = next(iter(learners.foreach_learner(DrivingLearner.precision))).get()
        result["phase"] = self._recipe.phase(iteration)
        result["lr"] = in_force.lr
        result["entropy_coeff"] = in_force.entropy_coeff
        result["clip_param"] = in_force.clip_param
        self._use(algorithm, self.coefficients(iteration + 1))
        if self._recipe.coaching_in(iteration + 1) != self._recipe.coaching_in(iteration):
            self._coach(algorithm.env_runner_group, iteration + 1)

    def coefficients(self, iteration: int) -> Coefficients:
        """What is in force in iteration ``iteration`` (counted from 1)."""
        recipe = self._recipe
        phase = self._exploring
        if recipe.phase(iteration) == "finetune":
            phase = Coefficients(
                lr=recipe.finetune_lr,
                entropy_coeff=recipe.finetune_entropy,
                clip_param=recipe.finetune_clip,
            )
        factor = recipe.annealing(iteration)
        return dataclasses.replace(
            phase, lr=factor * phase.lr, entropy_coeff=factor * phase.entropy_coeff
        )

    def _prepare(self, algorithm: Algorithm, iteration: int) -> None:
        """Apply what is in force in an iteration, before it begins."""
        self._use(algorithm, self.coefficients(iteration))
        self._coach(algorithm.env_runner_group, iteration)

    def _coach(self, env_runners: EnvRunnerGroup, iteration: int) -> None:
        env_runners.foreach_env_runner(
            partial(coach_environments, coaching=self._recipe.coaching_in(iteration))
        )

    @staticmethod
    def _use(algorithm: Algorithm, coefficients: Coefficients) -> None:
        algorithm.learner_group.foreach_learner(
            partial(DrivingLearner.use, coefficients=coefficients)
        )


def coach_environments(env_runner: Any, *, coaching: Coaching) -> None:
    """Train by these rules from now on, in all environments of an env runner."""
    if env_runner.env is not None:
        for env in env_runner.env.unwrapped.envs:
            if not env.set_wrapper_attr("coaching", coaching, force=False):
                raise RuntimeError(f"{env} is not coached, so its coaching cannot change")
