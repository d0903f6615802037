"""Train a policy: recipe → Tune → published policies.

    python -m training.train --skip-asha --max-iters 20 --finetune-at 10

The same command with the same ``--run-name`` continues an interrupted run.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, NoReturn

import ray
import tyro

from training.environment.seeds import GIVEN_SEEDS
from training.evaluation.sources import load_policy
from training.policy.published import BrokenPolicyError
from training.recipe import RECIPES, Recipe
from training.rllib.checkpoint import NotACheckpointError
from training.rllib.ray_connection import connect
from training.rllib.resources import NoResourcesError, Resources, plan, wait_for_cluster
from training.runs.conclusion import conclude, told_to_end
from training.runs.lock import RunLockedError
from training.runs.progress_report import ProgressReport
from training.runs.publishing import PublishingCallback, git_revision
from training.runs.run import ResumeMode, Run, RunError, default_run_name
from training.runs.search import TrialRecords
from training.runs.tensorboard import TensorBoardCallback
from training.runs.tuning import TrialsFailedError, tune_trials
from training.store.background import StorageQueue
from training.store.policies import NoPolicyError
from training.store.storage import Storage, StorageError, choose_root
from training.validation.finals import MOST_TRACKS
from training.validation.validator import Validator

_PROGRAM = "python -m training.train"
_LAST_WRITE_S = 5.0
"""Seconds to wait for storage at SIGTERM: most clouds kill a process 30 s after it."""

_REFUSALS = (
    RunError,
    RunLockedError,
    StorageError,
    NoResourcesError,
    TrialsFailedError,
    ValueError,
)
"""Errors that end the command with their message and without a traceback."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOptions:
    """Options of a run that do not change what a trial learns from."""

    results_dir: str | None = None
    """Storage root: a path, s3://… or gs://…. Default: CARRACING_STORAGE, else
    $ANYSCALE_ARTIFACT_STORAGE/carracing-ppo, else /mnt/cluster_storage/carracing-ppo if that is
    mounted, else ./results."""
    run_name: str | None = None
    """Name of the run; an existing name resumes that run. Default: the Anyscale job's id, else
    recipe and time."""
    skip_asha: bool = False
    """Train one trial with the recipe's own hyperparameters instead of searching."""
    init_from: str | None = None
    """Start from the weights of this policy: a version in the storage root, a published folder, a
    checkpoint, or bundled. Its network and pipeline must be the recipe's. The value function
    starts anew unless it shares the policy's encoder, and then its last layer does."""
    seed: int = 0
    """Seed of environments, sampling, initial weights and the search."""
    num_gpus: float | None = None
    """GPUs to wait for and to use. Default: those in the cluster."""
    max_concurrent_trials: int | None = None
    """Trials that run at the same time. Default: as many as fit into the cluster."""
    keep_policies: int | None = None
    """Keep only this many of the run's newest policies, besides each trial's newest one and the
    best one. Default: keep all. Films of a deleted policy can no longer be rendered."""
    validation_tracks: int = 8
    """Tracks that each published policy drives for its validation score, with low priority. At the
    end of the run the best policies drive five times as many. 0: no validation; the run's result
    is chosen by training returns."""
    resume: ResumeMode = "auto"
    """What to do with an existing run of that name: auto resumes it, never refuses to. must also
    refuses to start a new run."""
    restart: bool = False
    """Start a run of that name from the beginning; its published policies stay. An Anyscale job
    does so once; its retries resume."""

    def __post_init__(self) -> None:
        """Raise ValueError for values that are out of range or contradict each other."""
        if self.seed not in GIVEN_SEEDS:
            raise ValueError(f"--seed is {self.seed}; it must be from 0 to {GIVEN_SEEDS[-1]}")
        if self.num_gpus is not None and not 0 <= self.num_gpus < math.inf:
            raise ValueError(f"--num-gpus is {self.num_gpus}; it must be 0 or more")
        if self.max_concurrent_trials is not None and self.max_concurrent_trials < 1:
            raise ValueError(
                f"--max-concurrent-trials is {self.max_concurrent_trials}; it must be at least 1"
            )
        if self.keep_policies is not None and self.keep_policies < 1:
            raise ValueError(f"--keep-policies is {self.keep_policies}; it must be at least 1")
        if not 0 <= self.validation_tracks <= MOST_TRACKS:
            raise ValueError(
                f"--validation-tracks is {self.validation_tracks}; "
                f"it must be from 0 to {MOST_TRACKS}"
            )
        if self.restart and self.resume == "must":
            raise ValueError("--restart and --resume must contradict each other; give one of them")


@dataclass(frozen=True)
class Command:
    """Train a CarRacing-v3 driver from pixels with PPO, and publish its policies."""

    options: Annotated[RunOptions, tyro.conf.arg(name="")]
    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    recipe_name: Annotated[str, tyro.conf.arg(name="recipe")] = "published"
    """The recipe whose values the options below start from."""


def parse(arguments: Sequence[str]) -> Command:
    """Parse the command line; prints a message and exits if it is not valid."""
    # The recipe's name decides the defaults of the options, so it is read before them.
    first = argparse.ArgumentParser(prog=_PROGRAM, add_help=False, allow_abbrev=False)
    first.add_argument("--recipe", choices=sorted(RECIPES), default="published")
    name = first.parse_known_args(arguments)[0].recipe
    return tyro.cli(
        Command,
        args=arguments,
        default=Command(RunOptions(), RECIPES[name], name),
        prog=_PROGRAM,
    )


def train(command: Command) -> signal.Signals | None:
    """Train until the run ends, or until a signal stops it, which is returned.

    Raises:
        RunError, RunLockedError, StorageError, NoResourcesError, ValueError: The run
            cannot start with these options.
        TrialsFailedError: A trial failed for good.
    """
    options = command.options
    if not options.skip_asha:
        _refuse_searched(command)
    run = Run(
        Storage.open(choose_root(options.results_dir)),
        options.run_name or default_run_name(command.recipe_name),
    )
    with run.locked():
        return _carry_out(command, run)


def _carry_out(command: Command, run: Run) -> signal.Signals | None:
    options, recipe = command.options, command.recipe
    trials = 1 if options.skip_asha else recipe.num_samples
    settings = {
        "trials": trials,
        "seed": options.seed,
        **asdict(recipe),
        "recipe": command.recipe_name,
    }
    if options.init_from is not None:
        settings["init_from"] = options.init_from
    resume = run.prepare(settings, resume=options.resume, restart=options.restart)
    _say(f"{'resuming' if resume else 'starting'} run {run.name} in {run.address}")
    if options.init_from is not None and not resume:
        run.write_initial_weights(_initial_weights(options.init_from, command, run))
    connect()
    cpus, gpus = wait_for_cluster(options.num_gpus)
    resources = plan(
        cpus=cpus,
        gpus=gpus,
        trials=trials,
        num_env_runners=recipe.num_env_runners,
        max_concurrent_trials=options.max_concurrent_trials,
    )
    _say(resources.describe(trials=trials, cpus=cpus, gpus=gpus))
    if recipe.finetune_at >= recipe.max_iters:
        _say(
            f"--finetune-at {recipe.finetune_at} is not below --max-iters {recipe.max_iters}: "
            "phase finetune is never reached"
        )
    try:
        return _train(command, run, resources, trials=trials, resume=resume)
    except OSError as error:
        raise run.storage.failure(error) from error


def _train(
    command: Command, run: Run, resources: Resources, *, trials: int, resume: bool
) -> signal.Signals | None:
    recipe, options = command.recipe, command.options
    queue = StorageQueue("storage")
    records = TrialRecords.open(
        run.storage, run.folder, queue, recipe=recipe, trials=trials, seed=options.seed
    )
    report = ProgressReport(run.storage, run.name, recipe, queue)
    if resume:
        report.read(records.trials)
    tracks = options.validation_tracks
    with (
        tempfile.TemporaryDirectory(prefix="events-", ignore_cleanup_errors=True) as events,
        Validator(run.storage, run.name, tracks=tracks) as validator,
    ):
        publishing = PublishingCallback(
            run.storage,
            run.name,
            command.recipe_name,
            queue,
            revision=git_revision(),
            keep_checkpoints=recipe.keep_checkpoints,
            keep_policies=options.keep_policies,
            # The trials of a search would replace each other's policy as the latest.
            promote=trials == 1,
            validator=validator if tracks else None,
        )
        if resume:
            publishing.publish(records.trials)
        outcome = tune_trials(
            run,
            recipe,
            resources,
            records=records,
            rows=report.rows,
            seed=options.seed,
            initial_weights=None if options.init_from is None else run.initial_weights_file,
            callbacks=[
                report,
                publishing,
                TensorBoardCallback(run.storage, run.name, queue, events),
            ],
        )
        publishing.publish(records.trials)
        report.store()
        if outcome.interrupted_by is not None:
            if not queue.wait(_LAST_WRITE_S):
                logger.warning(
                    "storage has not taken everything within %g s; the run's table and its newest "
                    "policies are completed when it continues",
                    _LAST_WRITE_S,
                )
            told = (
                "interrupted" if outcome.interrupted_by is signal.SIGINT else "stopped by SIGTERM"
            )
            _say(f"{told}; --run-name {run.name} with the same options continues it")
            return outcome.interrupted_by
        queue.finish()
    known = validator.validations
    with told_to_end() as end:
        conclude(run, outcome, report.rows, publishing, validation_tracks=tracks, validations=known)
    if end.told_by is not None:
        _say(f"interrupted; --run-name {run.name} with the same options chooses its result")
    return end.told_by


def _initial_weights(source: str, command: Command, run: Run) -> bytes:
    """Return the weights that ``--init-from`` names; raises ValueError if they do not fit."""
    try:
        policy = load_policy(source, root=run.storage.root)
    except (NoPolicyError, BrokenPolicyError, NotACheckpointError, OSError) as error:
        raise ValueError(f"--init-from {source}: {error}") from error
    if differences := policy.description.differences(command.recipe.description()):
        raise ValueError(
            f"--init-from {source} does not fit the recipe {command.recipe_name}: "
            f"{'; '.join(differences)}. Choose the recipe that it was trained with"
        )
    return policy.weights


def _refuse_searched(command: Command) -> None:
    """Raise ValueError for values that the search would replace."""
    own = RECIPES[command.recipe_name]
    for name, domain in own.search.items():
        if getattr(command.recipe, name) != getattr(own, name):
            raise ValueError(
                f"--{name.replace('_', '-')} is searched in {domain}; "
                "give it with --skip-asha, which trains one trial"
            )


def _say(text: str) -> None:
    print(text, flush=True)


def _leave(told: signal.Signals) -> NoReturn:
    """End the process with the status that shells give a signal.

    ``os._exit`` skips pyarrow's shutdown, which waits for every S3 request in progress. The sender
    of the signal would kill the process before that.
    """
    ray.shutdown()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(128 + told)


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    # Tune's own reporting draws tables; this project prints a line per iteration instead.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        if (told := train(parse(arguments))) is not None:
            _leave(told)
    except _REFUSALS as error:
        raise SystemExit(f"{_PROGRAM}: {error}") from error


def run() -> None:
    """Run the command line with the process's arguments: the command ``carracing-train``."""
    main(sys.argv[1:])


if __name__ == "__main__":
    run()
