"""Measure the parts of a training iteration, of this project and of what it replaces.

``plain`` is Gymnasium's environment with the usual wrappers, sampled and trained by RLlib alone;
``rllib`` is the fast simulator with RLlib's own sampling, batches and optimizer and the C library's
allocator; ``ours`` is what ``training.train`` runs.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import gymnasium as gym
import ray
from gymnasium.envs.box2d.car_racing import CarRacing
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.tune.registry import register_env

from benchmarks.learning.sampling import Stopwatch
from benchmarks.simulator.contenders import ShrinkPicture
from training.environment.actions import MapActions
from training.environment.observation import EPISODE_FRAMES
from training.environment.pipeline import RepeatAction, ScaleReward, StackLast
from training.recipe import RECIPES, Recipe
from training.rllib.config import ENV_NAME, build_config, coach
from training.rllib.learning.learner import DrivingLearner
from training.rllib.resources import plan

Contender = Literal["plain", "rllib", "ours"]
PARTS = ("simulation", "forward", "learning", "rest")
WARM_UP = 2
"""Iterations that are not counted: processes grow, and caches fill."""


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
    """Iterations in a turn, after those that are not counted."""
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

    def update(self, **arguments: Any) -> Any:
        """RLlib's update."""
        return PPOTorchLearner.update(self, **arguments)


def make_plain_env(recipe: Recipe, _context: Mapping[str, Any]) -> gym.Env[Any, Any]:
    """The environment that draws every frame."""
    pipeline = recipe.pipeline
    env: gym.Env[Any, Any] = gym.wrappers.TimeLimit(CarRacing(), EPISODE_FRAMES)
    env = coach(recipe)(RepeatAction(env, pipeline.frame_skip))
    env = ScaleReward(ShrinkPicture(env, pipeline.size), pipeline.reward_scale)
    return MapActions(StackLast(env, pipeline.stack), recipe.action_mapping)


@dataclass(frozen=True)
class Iteration:
    """One iteration: what it gave, and where its seconds went."""

    wall: float
    decisions: int
    runners: Sequence[Mapping[str, float]]
    """Of each env runner: sampling, and within it simulation and forward."""
    main: Mapping[str, float]
    """Of the process that learns: waiting for samples, update and within it learning, weights."""
    handling: float
    """Processor seconds of its main thread outside of the update: requests, answers, metrics."""

    def runners_mean(self, part: str) -> float:
        """Seconds of a part, mean over the env runners."""
        return statistics.fmean(runner.get(part, 0.0) for runner in self.runners)


def watch_runner(runner: Any) -> None:
    """Time an env runner's sampling, its simulators and its network."""
    runner.watch = watch = Stopwatch(time.perf_counter)
    for env in runner.env.unwrapped.envs:
        for call in ("step", "reset", "look", "look_grey"):
            if hasattr(env.unwrapped, call):
                timed = watch.timed("simulation", getattr(env.unwrapped, call))
                setattr(env.unwrapped, call, timed)
    module = runner.module
    module.forward_exploration = watch.timed("forward", module.forward_exploration)
    runner.sample = watch.timed("sampling", runner.sample)


def read_runner(runner: Any) -> dict[str, float]:
    """Seconds by part since the last reading."""
    seconds = dict(runner.watch.seconds)
    runner.watch.seconds.clear()
    return seconds


def watch_main(algorithm: Algorithm) -> Stopwatch:
    """Time what an algorithm waits for and does.

    Its learner has to be in this process. ``learning`` is the learner's arithmetic: values, loss,
    gradients, the optimizer's step.
    """
    watch = Stopwatch(time.perf_counter)
    runners, group = algorithm.env_runner_group, algorithm.learner_group
    runners.foreach_env_runner = watch.timed("waiting", runners.foreach_env_runner)
    runners.sync_weights = watch.timed("weights", runners.sync_weights)
    group.update = watch.timed("update", group.update)
    learner = group._learner  # noqa: SLF001 - there is no other way to it
    for call in ("compute_losses", "compute_gradients", "postprocess_gradients", "apply_gradients"):
        setattr(learner, call, watch.timed("learning", getattr(learner, call)))
    module = learner.module["default_policy"].unwrapped()
    for call in ("_forward_train", "compute_values"):
        setattr(module, call, watch.timed("learning", getattr(module, call)))
    return watch


def iterate(algorithm: Algorithm) -> Iterator[Iteration]:
    """Train an algorithm, an iteration at a time, without end."""
    runners = algorithm.env_runner_group
    runners.foreach_env_runner(watch_runner, local_env_runner=False)
    watch = watch_main(algorithm)
    busy = Stopwatch(time.thread_time)
    group = algorithm.learner_group
    group.update = busy.timed("update", group.update)
    before = 0
    while True:
        watch.seconds.clear()
        busy.seconds.clear()
        start, start_busy = time.perf_counter(), time.thread_time()
        result = algorithm.train()
        wall = time.perf_counter() - start
        handling = time.thread_time() - start_busy - busy.seconds["update"]
        main = dict(watch.seconds)
        sampled = runners.foreach_env_runner(read_runner, local_env_runner=False)
        total = int(result["num_env_steps_sampled_lifetime"])
        yield Iteration(wall, total - before, list(sampled), main, handling)
        before = total


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
    rows = [
        _by_part(each) for each in islice(iterate(algorithm), WARM_UP, WARM_UP + options.iterations)
    ]
    algorithm.stop()
    ray.shutdown()
    return rows


def _by_part(iteration: Iteration) -> dict[str, float]:
    seconds = {
        "simulation": iteration.runners_mean("simulation"),
        "forward": iteration.runners_mean("forward"),
        "learning": iteration.main["learning"],
    }
    rest = iteration.wall - sum(seconds.values())
    return {**seconds, "rest": rest, "wall": iteration.wall, "decisions": iteration.decisions}
