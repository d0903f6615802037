"""Environments that begin in the midst of a trial drive other tracks than it began with.

One that is lost before the iteration is over in which it began repeats its own.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from training.rllib.sampling.env_runner import DrivingEnvRunner


class FreshTracks(RLlibCallback):  # type: ignore[misc]
    """Tells env runners after which iteration they begin: RLlib's seed is that of the beginning."""

    def on_checkpoint_loaded(self, *, algorithm: Algorithm, **_: Any) -> None:
        """The trial goes on, with env runners that have not driven yet."""
        _tell(algorithm.env_runner_group, algorithm.iteration)

    def on_env_runners_recreated(
        self, *, algorithm: Algorithm, env_runner_group: EnvRunnerGroup, **_: Any
    ) -> None:
        """Some replace lost ones; the others have begun."""
        _tell(env_runner_group, algorithm.iteration)


def _tell(env_runners: EnvRunnerGroup, iteration: int) -> None:
    env_runners.foreach_env_runner(partial(begin_after, iteration=iteration))


def begin_after(env_runner: Any, *, iteration: int) -> None:
    """Have the environments of an env runner start from seeds of their own after that iteration."""
    if isinstance(env_runner, DrivingEnvRunner):
        env_runner.begins_after = iteration
