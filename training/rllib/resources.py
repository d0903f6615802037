"""How much of the cluster a trial takes, and how many trials run side by side."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass

import ray
from ray.autoscaler.sdk import request_resources

logger = logging.getLogger(__name__)


class NoResourcesError(Exception):
    """The cluster does not have the requested CPUs and GPUs."""


@dataclass(frozen=True)
class Resources:
    """What each trial takes: a CPU for each env runner, and a share of a GPU.

    Sampling and learning alternate, so the process that learns uses the env runners' CPUs.
    """

    num_env_runners: int
    gpus_per_learner: float
    max_concurrent_trials: int

    def describe(self, *, trials: int, cpus: float, gpus: float) -> str:
        """What a run of that many trials takes of a cluster, in a line."""
        device = f"{self.gpus_per_learner:g} GPU" if self.gpus_per_learner else "the CPU"
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
    """
    limit = min(trials, max_concurrent_trials or trials)
    runners = max(1, min(num_env_runners, int(cpus / min(limit, 2))))
    concurrent = max(1, min(limit, int(cpus / runners)))
    return Resources(
        num_env_runners=runners,
        gpus_per_learner=_gpu_share(gpus, concurrent),
        max_concurrent_trials=concurrent,
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
