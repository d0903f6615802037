"""How much of the cluster a trial takes, and how many trials run side by side."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass

import ray
from ray.autoscaler.sdk import request_resources

logger = logging.getLogger(__name__)

# (main process, env runner) in CPUs. Sampling and learning alternate, so where cores are scarce
# the learner borrows the runners' and reserves next to nothing.
_SHARES = (1.0, 1.0)
_SMALL_CLUSTER_CPUS = 4
_SMALL_CLUSTER_SHARES = (0.1, 0.9)
# The margin with which sums of tenths are compared.
_ROUNDING = 1e-6


class NoResourcesError(Exception):
    """The cluster did not bring up what training was told to use."""


@dataclass(frozen=True)
class Resources:
    """What each trial takes."""

    num_env_runners: int
    cpus_per_env_runner: float
    main_cpus: float
    """CPUs of the process that learns (besides its GPU); of several, each has as many, and so has
    the one that gathers what is sampled."""
    gpus_per_learner: float
    max_concurrent_trials: int
    num_learners: int = 1

    def describe(self, *, trials: int, cpus: float, gpus: float) -> str:
        """What a run of that many trials takes of a cluster, in a line."""
        device = f"{self.gpus_per_learner:g} GPU" if self.gpus_per_learner else "the CPU"
        if self.num_learners > 1:
            device = f"{device} in each of {self.num_learners} processes"
        return (
            f"{trials} trial{'s' if trials > 1 else ''}, {self.max_concurrent_trials} side by "
            f"side; each samples with {self.num_env_runners} env runners and learns on {device} "
            f"(the cluster has {cpus:g} CPUs and {gpus:g} GPUs)"
        )


def plan(
    *,
    cpus: float,
    gpus: float,
    trials: int,
    num_env_runners: int,
    max_concurrent_trials: int | None = None,
    num_learners: int = 1,
) -> Resources:
    """Share a cluster between trials.

    As many trials run side by side as hold with all their env runners. A search whose cluster
    holds only one gives up env runners until two hold: asynchronous successive halving cannot
    stop a trial that runs alone.

    Args:
        cpus: Of the whole cluster, at least 1.
        gpus: Of the whole cluster.
        trials: To be run in all.
        num_env_runners: Wanted per trial.
        max_concurrent_trials: At most this many side by side; None for as many as hold.
        num_learners: Of each trial.

    Raises:
        NoResourcesError: Several learners have fewer GPUs, and none of them can share one; or
            they leave no CPU for an env runner.
    """
    small = cpus <= _SMALL_CLUSTER_CPUS
    main_cpus, runner_cpus = _SMALL_CLUSTER_SHARES if small else _SHARES
    limit = min(trials, max_concurrent_trials or trials)
    fixed_cpus = main_cpus
    if num_learners > 1:
        fixed_cpus += num_learners * main_cpus
        if gpus:
            limit = min(limit, int(gpus // num_learners))
        if not limit:
            raise NoResourcesError(
                f"{num_learners} learners need a GPU each, and there are {gpus:g}: "
                "pass a smaller --num-learners, or a larger --num-gpus"
            )
        least_cpus = fixed_cpus + runner_cpus
        if least_cpus > cpus + _ROUNDING:
            raise NoResourcesError(
                f"{num_learners} learners, the process that gathers what they learn from and an "
                f"env runner need {least_cpus:g} CPUs, and the cluster has {cpus:g}: "
                "pass a smaller --num-learners, or start nodes with more CPUs"
            )
    wanted = min(limit, 2)
    runners = int((cpus / wanted - fixed_cpus) / runner_cpus + _ROUNDING)
    runners = max(1, min(num_env_runners, runners))
    concurrent = int(cpus / (fixed_cpus + runners * runner_cpus) + _ROUNDING)
    concurrent = max(1, min(limit, concurrent))
    return Resources(
        num_env_runners=runners,
        cpus_per_env_runner=runner_cpus,
        main_cpus=main_cpus,
        gpus_per_learner=_gpu_share(gpus, concurrent * num_learners),
        max_concurrent_trials=concurrent,
        num_learners=num_learners,
    )


def _gpu_share(gpus: float, learners: int) -> float:
    """The share of a GPU with which that many learners fit; a share lies on one GPU."""
    if gpus < 1:
        return gpus / learners
    return 1.0 / math.ceil(learners / math.floor(gpus))


def wait_for_cluster(num_gpus: float | None, *, timeout_s: float = 1800.0) -> tuple[float, float]:
    """Wait until the cluster has CPUs and the GPUs that were asked for.

    A cluster that autoscales from zero shows neither at first, so they are requested.

    Args:
        num_gpus: GPUs to wait for; None takes what is there once there is a CPU.
        timeout_s: How long to wait.

    Returns:
        CPUs and GPUs of the cluster.

    Raises:
        NoResourcesError: They did not appear in time; the message says what there is.
    """
    wanted_gpus = num_gpus or 0.0
    if wanted_gpus == 0:
        request: list[dict[str, float]] = [{"CPU": 1}]
    else:
        # One bundle per GPU: several need not be on one node.
        request = [{"CPU": 1, "GPU": 1}] * math.ceil(wanted_gpus)
    deadline = time.monotonic() + timeout_s
    asked = False
    while True:
        found = ray.cluster_resources()
        cpus, gpus = found.get("CPU", 0.0), found.get("GPU", 0.0)
        if cpus >= 1 and gpus >= wanted_gpus:
            if asked:
                # A request holds its nodes until it is withdrawn; trials hold what they need.
                request_resources(bundles=[])
            return cpus, gpus if num_gpus is None else wanted_gpus
        if not asked:
            logger.info(
                "waiting for the cluster: it has %g CPUs and %g GPUs, "
                "training needs at least 1 and %g",
                cpus,
                gpus,
                wanted_gpus,
            )
            request_resources(bundles=request)
            asked = True
        if time.monotonic() > deadline:
            request_resources(bundles=[])
            raise NoResourcesError(
                f"after {timeout_s:g} s the cluster has {cpus:g} CPUs and {gpus:g} GPUs; training "
                f"was told to use {wanted_gpus:g} GPUs: start a node that has them, "
                "or pass --num-gpus 0"
            )
        time.sleep(1.0)
