"""Train the template's recipe with RLlib's own classes and with this project's, side by side.

    python -m benchmarks.learning.rllib_reference --learners rllib published --iterations 30

``rllib`` trains RLlib's default PPO module with its default connectors, learner, seeds, optimizer
and clips. The others train as ``training.train`` does. All drive the fast simulator through one
observation pipeline, with the same batch sizes and coefficients.

Prints one line per iteration. Returns are unscaled means over the latest 100 sampled episodes.
"""

from __future__ import annotations

import dataclasses
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Literal

import numpy as np
import ray
import tyro
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, LEARNER_RESULTS

from benchmarks.learning.rllib_default_ppo import default_ppo
from training.recipe import RECIPES, Recipe
from training.rllib.config import build_config
from training.rllib.resources import plan

PUBLISHED = RECIPES["published"]
RECIPE_VARIANTS: dict[str, Recipe] = {
    "published": PUBLISHED,
    "clipped-value": dataclasses.replace(PUBLISHED, vf_clip_param=10.0),
    "unclipped-value": dataclasses.replace(PUBLISHED, vf_clip_param=1e6),
}
"""The recipe, and the same with one coefficient changed."""
LearnerName = Literal["rllib", "published", "clipped-value", "unclipped-value"]
_COLUMNS = (
    "entropy",
    "mean_kl_loss",
    "curr_kl_coeff",
    "vf_loss",
    "vf_loss_unclipped",
    "total_loss",
)


@dataclass(frozen=True)
class Options:
    """What is trained, and for how long."""

    learners: tuple[LearnerName, ...] = ("rllib", "published")
    """Trained one after the other."""
    iterations: int = 30
    """Training iterations of each."""
    seed: int = 0
    """Seed of environments, sampling and initial weights."""
    cpus: int = 2
    """CPUs that Ray may use."""


def _train(name: LearnerName, options: Options) -> None:
    ray.init(
        address="local",
        num_cpus=options.cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    recipe = RECIPE_VARIANTS.get(name, PUBLISHED)
    resources = plan(cpus=options.cpus, gpus=0, trials=1, num_env_runners=recipe.num_env_runners)
    config = build_config(recipe, resources, seed=options.seed, batched=name != "rllib")
    if name == "rllib":
        config = default_ppo(config, recipe)
    algorithm = config.build_algo()
    for iteration in range(1, options.iterations + 1):
        start = time.perf_counter()
        result = algorithm.train()
        seconds = time.perf_counter() - start
        mean = result[ENV_RUNNER_RESULTS].get("episode_return_mean", np.nan)
        learned = result[LEARNER_RESULTS]["default_policy"]
        values = " | ".join(f"{float(learned.get(column, np.nan)):.3f}" for column in _COLUMNS)
        if name == "rllib":
            # This project's env runner reports unscaled returns itself.
            mean /= recipe.pipeline.reward_scale
        print(f"| {name} | {iteration} | {mean:.1f} | {values} | {seconds:.1f} |", flush=True)
    algorithm.stop()
    ray.shutdown()


def main() -> None:
    """Trains each learner in a process of its own and prints its lines."""
    options = tyro.cli(Options, description=__doc__)
    print("| learner | iteration | return | " + " | ".join(_COLUMNS) + " | seconds |")
    print("|---" * (len(_COLUMNS) + 4) + "|", flush=True)
    for name in options.learners:
        # The allocator's settings cannot be taken back within a process.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(_train, name, options).result()


if __name__ == "__main__":
    main()
