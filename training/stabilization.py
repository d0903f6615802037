"""Explore → stabilize: the switch of learning rate, entropy bonus and clip range."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS

from training.learner import Coefficients, DrivingLearner
from training.recipe import Recipe


class StabilizationCallback(RLlibCallback):  # type: ignore[misc]
    """Switches phases once ``recipe.finetune_at`` iterations are trained, and reports both.

    Adds to every result: ``phase``, ``lr``, ``entropy_coeff`` and ``clip_param`` as they were in
    force in that iteration, and ``return_min/mean/max`` in the simulator's own units.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self._recipe = recipe

    def on_algorithm_init(self, *, algorithm: Algorithm, **_: Any) -> None:
        """Let a learner on the CPU use the cores that env runners leave idle while it learns."""
        if algorithm.config.num_gpus_per_learner == 0:
            # Ray gives a process as many threads as it reserves CPUs, here one or less.
            config = algorithm.config
            runners = config.num_env_runners * config.num_cpus_per_env_runner
            torch.set_num_threads(max(1, round(runners + config.num_cpus_for_main_process)))
        if self._recipe.phase(1) == "stabilize":
            self._switch(algorithm)

    def on_train_result(self, *, algorithm: Algorithm, result: dict[str, Any], **_: Any) -> None:
        """Report what was in force, then switch if this was the last exploring iteration."""
        iteration = result["training_iteration"]
        in_force = next(
            iter(algorithm.learner_group.foreach_learner(DrivingLearner.coefficients))
        ).get()
        result["phase"] = self._recipe.phase(iteration)
        result["lr"] = in_force.lr
        result["entropy_coeff"] = in_force.entropy_coeff
        result["clip_param"] = in_force.clip_param
        returns = result.setdefault(ENV_RUNNER_RESULTS, {})
        for kind in ("min", "mean", "max"):
            # Tune's CSV keeps the columns of the first row, in which no episode may have ended.
            scaled = returns.setdefault(f"episode_return_{kind}", math.nan)
            result[f"return_{kind}"] = float(scaled) / self._recipe.pipeline.reward_scale
        if iteration == self._recipe.finetune_at:
            self._switch(algorithm)

    def _switch(self, algorithm: Algorithm) -> None:
        recipe = self._recipe
        stabilizing = Coefficients(
            lr=recipe.finetune_lr,
            entropy_coeff=recipe.finetune_entropy,
            clip_param=recipe.finetune_clip,
        )
        algorithm.learner_group.foreach_learner(
            partial(DrivingLearner.use, coefficients=stabilizing)
        )
