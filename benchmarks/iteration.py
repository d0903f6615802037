"""A training iteration taken apart: how long its parts take, ours and what they replace.

``plain`` is Gymnasium's environment under the usual chain of wrappers, sampled and learned from
RLlib's own way; ``rllib`` is the fast simulator with RLlib's own sampling, batches and optimizer
and the C library's own allocator; ``ours`` is what ``training.train`` runs.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import ray
from gymnasium.envs.box2d.car_racing import CarRacing
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.tune.registry import register_env

from benchmarks.contenders import ShrinkPicture
from benchmarks.sampling import Stopwatch
from training.actions import MapActions
from training.environment import EPISODE_FRAMES, RepeatAction, ScaleReward, StackLast
from training.learner import DrivingLearner
from training.ppo import ENV_NAME, build_config, coach
from training.recipe import RECIPES, Recipe
from training.resources import plan

Contender = Literal["plain", "rllib", "ours"]
PARTS = ("simulation", "forward", "learning", "rest")


@dataclass(frozen=True)
class Options:
    """What is measured, and on what."""

    recipe: str = "swift"
    """Recipe to train with."""
    contenders: tuple[Contender, ...] = ("plain", "rllib", "ours")
    """Who takes part."""
    rounds: int = 2
    """Turns of each contender."""
    iterations: int = 3
    """Iterations in a turn, after two that are not counted."""
    num_env_runners: int = 2
    """Processes that sample."""
    cpus: int = 2
    """Cores that Ray is told of."""
    gpus: float = 0.0
    """GPUs for the learner."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        if self.recipe not in RECIPES:
            raise ValueError(f"--recipe is {self.recipe!r}; known: {', '.join(RECIPES)}")
        for name in ("rounds", "iterations", "num_env_runners", "cpus"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be at least 1")


class PlainLearner(DrivingLearner):
    """The learner with RLlib's own optimizer and the allocator as it comes."""

    def build(self) -> None:
        """Build as RLlib does."""
        PPOTorchLearner.build(self)

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """RLlib's Adam."""
        PPOTorchLearner.configure_optimizers_for_module(self, module_id, config)


def make_plain_env(recipe: Recipe, _context: Mapping[str, Any]) -> gym.Env[Any, Any]:
    """The environment that draws every frame."""
    pipeline = recipe.pipeline
    env: gym.Env[Any, Any] = gym.wrappers.TimeLimit(CarRacing(), EPISODE_FRAMES)
    env = coach(recipe)(RepeatAction(env, pipeline.frame_skip))
    env = ScaleReward(ShrinkPicture(env, pipeline.size), pipeline.reward_scale)
    return MapActions(StackLast(env, pipeline.stack), recipe.action_mapping)


def watch_runner(runner: Any) -> None:
    """Time an env runner's simulators and its network."""
    runner.watch = watch = Stopwatch(time.perf_counter)
    for env in runner.env.unwrapped.envs:
        for call in ("step", "reset", "look", "look_grey"):
            if hasattr(env.unwrapped, call):
                timed = watch.timed("simulation", getattr(env.unwrapped, call))
                setattr(env.unwrapped, call, timed)
    actor = runner.module.actor
    actor.forward = watch.timed("forward", actor.forward)


def read_runner(runner: Any) -> dict[str, float]:
    """Seconds by part since the last reading."""
    seconds = dict(runner.watch.seconds)
    runner.watch.seconds.clear()
    return seconds


def watch_learner(learner: Any) -> Stopwatch:
    """Time the arithmetic of a learner: values, loss, gradients, the optimizer's step."""
    watch = Stopwatch(time.perf_counter)
    for call in ("compute_losses", "compute_gradients", "postprocess_gradients", "apply_gradients"):
        setattr(learner, call, watch.timed("learning", getattr(learner, call)))
    module = learner.module["default_policy"].unwrapped()
    for call in ("_forward_train", "compute_values"):
        setattr(module, call, watch.timed("learning", getattr(module, call)))
    return watch


def measure(contender: Contender, options: Options) -> list[dict[str, float]]:
    """One turn in this process: for each iteration its decisions, and its seconds by part."""
    ray.init(
        address="local",
        num_cpus=options.cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    recipe = dataclasses.replace(RECIPES[options.recipe], num_env_runners=options.num_env_runners)
    resources = plan(
        cpus=options.cpus, gpus=options.gpus, trials=1, num_env_runners=options.num_env_runners
    )
    config = build_config(recipe, resources, seed=0, batched=contender == "ours")
    if contender != "ours":
        config = config.learners(learner_class=PlainLearner)
    if contender == "plain":
        register_env(ENV_NAME, functools.partial(make_plain_env, recipe))
    algorithm = config.build_algo()
    runners = algorithm.env_runner_group
    runners.foreach_env_runner(watch_runner, local_env_runner=False)
    watch = watch_learner(algorithm.learner_group._learner)  # noqa: SLF001 - it is in this process
    results, decisions = [], 0
    for number in range(options.iterations + 2):
        start = time.perf_counter()
        result = algorithm.train()
        wall = time.perf_counter() - start
        sampled = runners.foreach_env_runner(read_runner, local_env_runner=False)
        total = int(result["num_env_steps_sampled_lifetime"])
        seconds = {
            part: statistics.fmean(reading.get(part, 0.0) for reading in sampled)
            for part in ("simulation", "forward")
        }
        seconds["learning"] = watch.seconds.pop("learning")
        seconds["rest"] = wall - sum(seconds.values())
        if number >= 2:
            results.append({**seconds, "wall": wall, "decisions": total - decisions})
        decisions = total
    algorithm.stop()
    ray.shutdown()
    return results
