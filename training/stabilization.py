"""Explore → stabilize: the switch of learning rate, entropy bonus and clip range.

RLlib reads each of the three from another place, and a hand-set value survives neither its
schedulers nor a restore. So the switch replaces the source that each is read from, and is applied
again whenever a checkpoint from after the switch is loaded: the phase follows from the iteration.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo.ppo_learner import PPOLearner
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS
from ray.rllib.utils.schedules.scheduler import Scheduler

from training.recipe import Recipe


@dataclass(frozen=True)
class Coefficients:
    """What the loss uses."""

    lr: float
    entropy_coeff: float
    clip_param: float


def coefficients_in_force(learner: PPOLearner) -> Coefficients:
    """Read the three from where the learner's update reads them."""
    (_, optimizer), *_ = learner.get_optimizers_for_module(DEFAULT_MODULE_ID)
    entropy = learner.entropy_coeff_schedulers_per_module[DEFAULT_MODULE_ID].get_current_value()
    return Coefficients(
        lr=float(optimizer.param_groups[0]["lr"]),
        entropy_coeff=float(entropy),
        clip_param=float(learner.config.get_config_for_module(DEFAULT_MODULE_ID).clip_param),
    )


def put_in_force(learner: PPOLearner, coefficients: Coefficients) -> None:
    """Make a learner use the three from its next update on."""
    for _, optimizer in learner.get_optimizers_for_module(DEFAULT_MODULE_ID):
        # The scheduler sets the optimizer's lr after every update, so it must agree.
        learner._optimizer_lr_schedules[optimizer] = Scheduler(  # noqa: SLF001
            fixed_value_or_schedule=coefficients.lr, framework="torch"
        )
        learner._set_optimizer_lr(optimizer, lr=coefficients.lr)  # noqa: SLF001
    learner.entropy_coeff_schedulers_per_module[DEFAULT_MODULE_ID] = Scheduler(
        fixed_value_or_schedule=coefficients.entropy_coeff, framework="torch"
    )
    # A copy, because the algorithm's own config may be the same object; RLlib leaves it unfrozen.
    learner.config = learner.config.copy(copy_frozen=False)
    learner.config.training(clip_param=coefficients.clip_param)


class StabilizationCallback(RLlibCallback):  # type: ignore[misc]
    """Switches phases once ``recipe.finetune_at`` iterations are trained, and reports both.

    Adds to every result: ``phase``, ``lr``, ``entropy_coeff`` and ``clip_param`` as they were in
    force in that iteration, and ``return_min/mean/max`` in the simulator's own units.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self._recipe = recipe
        self._stabilizing = Coefficients(
            lr=recipe.finetune_lr,
            entropy_coeff=recipe.finetune_entropy,
            clip_param=recipe.finetune_clip,
        )

    def on_algorithm_init(self, *, algorithm: Algorithm, **_: Any) -> None:
        """Let a learner on the CPU use the cores that env runners leave idle while it learns."""
        if algorithm.config.num_gpus_per_learner == 0:
            # Ray gives a process as many threads as it reserves CPUs, and this one reserves 0 or 1.
            torch.set_num_threads(os.cpu_count() or 1)

    def on_train_result(self, *, algorithm: Algorithm, result: dict[str, Any], **_: Any) -> None:
        """Report what was in force, then switch if this was the last exploring iteration."""
        iteration = result["training_iteration"]
        in_force = algorithm.learner_group.foreach_learner(coefficients_in_force)
        coefficients = next(iter(in_force)).get()
        result["phase"] = self._recipe.phase(iteration)
        result["lr"] = coefficients.lr
        result["entropy_coeff"] = coefficients.entropy_coeff
        result["clip_param"] = coefficients.clip_param
        returns = result.setdefault(ENV_RUNNER_RESULTS, {})
        for kind in ("min", "mean", "max"):
            # Tune's CSV keeps the columns of the first row, in which no episode may have ended.
            scaled = returns.setdefault(f"episode_return_{kind}", math.nan)
            result[f"return_{kind}"] = float(scaled) / self._recipe.pipeline.reward_scale
        self._switch_if_due(algorithm, iteration)

    def on_checkpoint_loaded(self, *, algorithm: Algorithm, **_: Any) -> None:
        """Put the stabilizing phase in force again; a checkpoint does not hold all of it."""
        self._switch_if_due(algorithm, algorithm.iteration)

    def _switch_if_due(self, algorithm: Algorithm, iteration: int) -> None:
        """Switch where the next iteration stabilizes and this algorithm does not yet."""
        if self._recipe.phase(iteration + 1) == "stabilize":
            stabilizing = self._stabilizing
            algorithm.learner_group.foreach_learner(
                lambda learner: put_in_force(learner, stabilizing)
            )
