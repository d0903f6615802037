"""The training command in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.preemption.kills import kill, victims

TINY = [
    "--skip-asha",
    *("--num-env-runners", "1"),
    *("--num-envs-per-env-runner", "1"),
    *("--train-batch-size-per-learner", "256"),
    *("--minibatch-size", "64"),
    *("--num-epochs", "1"),
    *("--num-gpus", "0"),
    *("--validation-tracks", "0"),
]
"""Options of a run whose iterations take about a second, and that validates nothing."""

_WITH_TINY_RECIPE = """
import dataclasses, sys
from tests.conftest import SMALL_NETWORK
from training.recipe import RECIPES, LogUniform
from training.train import main
RECIPES["tiny"] = dataclasses.replace(
    RECIPES["published"],
    network=SMALL_NETWORK,
    num_env_runners=1,
    num_envs_per_env_runner=1,
    train_batch_size_per_learner=64,
    minibatch_size=64,
    num_epochs=1,
    search={"lr": LogUniform(1e-4, 5e-4)},
)
main(sys.argv[1:])
"""
"""The command with one more recipe, which searches little."""

# Some of them name the cluster, storage or job of the user who runs the tests.
_UNSET = ("ANYSCALE_SESSION_ID", "ANYSCALE_JOB_ID", "ANYSCALE_HA_JOB_ID", "CARRACING_STORAGE")


class Training:
    """The command while it runs. Nothing here has a time limit; the tests have one."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def output(self) -> str:
        """Its output and log so far."""
        return self._log.read_text()

    def iterations(self) -> list[int]:
        """The iterations of which it has printed a line."""
        return [int(found) for found in re.findall(r"iteration +(\d+)/", self.output)]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait while it runs."""
        while not condition():
            assert self.process.poll() is None, self.output
            time.sleep(0.1)

    def wait_for(self, text: str) -> None:
        """Wait until it has printed this."""
        self.wait_until(lambda: text in self.output)

    def wait_for_more(self, count: int) -> list[int]:
        """Wait until it has printed so many more iterations; those."""
        printed = len(self.iterations())
        self.wait_until(lambda: len(self.iterations()) >= printed + count)
        return self.iterations()[printed:]

    def kill(self) -> None:
        """Kill it with all processes of its Ray."""
        kill(victims(self.process.pid, "whole cluster"))
        self.process.wait()


@contextmanager
def training(
    root: Path | str,
    *options: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
    tiny_recipe: bool = False,
) -> Iterator[Training]:
    """The command in a process; at the end it is killed if it still runs.

    Args:
        root: Its storage root.
        options: The others.
        log: Where its output goes.
        environment: Variables besides this process's.
        prefix: A command that runs this one.
        tiny_recipe: Whether there is a recipe ``tiny``, which searches little.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in _UNSET}
    command = ["-c", _WITH_TINY_RECIPE] if tiny_recipe else ["-m", "training.train"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*prefix, sys.executable, *command, "--results-dir", str(root), *options],
            env=inherited | {"RAY_ADDRESS": "local"} | dict(environment or {}),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    running = Training(process, log)
    try:
        yield running
    finally:
        if process.poll() is None:
            running.kill()
        print(running.output)  # shown where the test fails


def run_train(root: Path | str, *options: str, log: Path, **others: Any) -> Training:
    """The command, run to its end.

    Args:
        root: Its storage root.
        options: The others.
        log: Where its output goes.
        others: Of :func:`training`.
    """
    with training(root, *options, log=log, **others) as running:
        running.process.wait()
    return running
