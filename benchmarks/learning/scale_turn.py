"""One turn of ``benchmarks.learning.scale``: training on its own Ray nodes, by parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE

from benchmarks.learning.iteration import WARM_UP, Iteration, iterate
from benchmarks.learning.ray_nodes import ray_nodes, serialized_bytes
from training.recipe import RECIPES
from training.rllib.config import build_config
from training.rllib.resources import plan


@dataclass(frozen=True)
class Shape:
    """Of a cluster and a trial."""

    nodes: int
    runners: int
    envs: int
    """Of each env runner."""

    def __str__(self) -> str:
        return f"{self.nodes} nodes, {self.runners} env runners × {self.envs} environments"


@dataclass(frozen=True)
class Turn:
    """What a turn showed."""

    iterations: Sequence[Iteration]
    samples_bytes: float
    """Of the answers of all env runners, each iteration."""
    weights_bytes: float
    """Of the weights that env runners are sent."""


def measure(shape: Shape, recipe_name: str, batch: int, iterations: int, cpus: int) -> Turn:
    """One turn in this process.

    Args:
        shape: Of the cluster and the trial.
        recipe_name: The recipe.
        batch: Decisions of an iteration.
        iterations: Counted ones.
        cpus: Cores that Ray is told of.
    """
    recipe = RECIPES[recipe_name]
    recipe = dataclasses.replace(
        recipe,
        num_env_runners=shape.runners,
        num_envs_per_env_runner=shape.envs,
        train_batch_size_per_learner=batch,
        minibatch_size=min(recipe.minibatch_size, batch),
    )
    resources = plan(cpus=cpus, gpus=0, trials=1, num_env_runners=shape.runners)
    with ray_nodes(shape.nodes, cpus):
        algorithm = build_config(recipe, resources, seed=0).build_algo()
        endless = iterate(algorithm)
        for _ in range(WARM_UP):
            next(endless)
        taken = list(islice(endless, iterations))
        answers = algorithm.env_runner_group.foreach_env_runner(
            answer_bytes, local_env_runner=False
        )
        weights = algorithm.learner_group.get_state(
            components=[f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"], inference_only=True
        )[COMPONENT_LEARNER]
        turn = Turn(taken, sum(answers), serialized_bytes(weights))
        algorithm.stop()
    return turn


def answer_bytes(runner: Any) -> int:
    """Sample once more; the size of what an env runner answers."""
    return serialized_bytes((runner.sample(), runner.get_metrics()))
