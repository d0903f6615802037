"""How fast a larger cluster would train: a model on paper, from rates that one machine shows.

PPO's parts follow one another, so an iteration takes their sum and the largest of them is the
bottleneck. What each part is taken to be stands beside it in :func:`predict`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PARTS: Final = ("sampling", "handling", "transfer", "assembly", "learning", "weights")
SHORTEST_STRETCH: Final = 32
"""Decisions of an episode at the least in a batch: with swift's γ λ = 0.931 an advantage estimated
over 32 decisions has 90 % of its weight before it is cut."""
_MOST_ENVS: Final = 8


@dataclass(frozen=True)
class Rates:
    """What parts of an iteration take; all but the last three are measured."""

    decision_s: float
    """An env-runner core's seconds for a decision, however many environments it has."""
    step_s: float
    """What it takes on top for a step of all its environments together."""
    spread: float
    """Standard deviation of the env runners' seconds in an iteration, by their mean."""
    handling_s: float
    """The main process's seconds for each env runner: requests, answers, metrics."""
    decision_bytes: float
    """Of a decision in an env runner's answer."""
    store_bytes_per_s: float
    """From one node's object store to the reader in another."""
    assembly_s: float
    """A learner's seconds for a decision beside its arithmetic: batch, minibatches, metrics."""
    weights_bytes: float
    """What env runners are sent after an update."""
    weights_s: float
    """The main process's seconds until they are sent."""
    learner_samples_per_s: float
    """Samples, times epochs, that one GPU learns from. An assumption."""
    network_bytes_per_s: float
    """Between two nodes, in each direction. An assumption."""
    exchange_s: float
    """Latency of averaging gradients between learners. An assumption."""


@dataclass(frozen=True)
class Learning:
    """What the recipe says of an update, and what is known of how it learns."""

    batch: int
    epochs: int
    minibatch: int
    fewest_decisions: float
    most_decisions: float
    """Until the score, by the runs that were measured with this batch."""


@dataclass(frozen=True)
class Cluster:
    """A cluster, and the flags that suit it."""

    cores: int
    """Of env runners, each with one."""
    gpus: int
    """Each with a learner."""
    cores_per_node: int
    envs: int
    """Of each env runner."""
    batch: int
    """Of all learners together."""

    @property
    def nodes(self) -> int:
        """Nodes that env runners are on."""
        return math.ceil(self.cores / self.cores_per_node)

    @property
    def flags(self) -> str:
        """For ``training.train``."""
        several = f" --num-learners {self.gpus}" if self.gpus > 1 else ""
        return (
            f"--num-env-runners {self.cores} --num-envs-per-env-runner {self.envs} "
            f"--train-batch-size-per-learner {self.batch // self.gpus}{several} "
            f"--num-gpus {self.gpus}"
        )


@dataclass(frozen=True)
class Prediction:
    """An iteration of that cluster."""

    parts: Mapping[str, float]
    """Seconds, by part."""
    decisions_per_s: float
    fewest_hours: float
    """Until the score, if it takes no more decisions than with the small batch."""
    most_hours: float
    """If it takes as many iterations, and as many optimizer steps, whichever is longer."""

    @property
    def seconds(self) -> float:
        """Of the iteration."""
        return sum(self.parts.values())

    @property
    def bottleneck(self) -> str:
        """The part that takes longest."""
        return max(self.parts, key=self.parts.__getitem__)


def suit(cores: int, gpus: int, cores_per_node: int, learning: Learning) -> Cluster:
    """The flags for a cluster: the recipe's batch where it holds a stretch of every environment.

    Where it holds several, an env runner has several environments, which share passes through the
    network. Where it does not hold one, the batch grows.

    Raises:
        ValueError: There is no such cluster.
    """
    for name, value in (("cores", cores), ("gpus", gpus), ("cores_per_node", cores_per_node)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    fitting = learning.batch // (cores * SHORTEST_STRETCH)
    envs = max(1, min(_MOST_ENVS, fitting))
    least = max(learning.batch, cores * envs * SHORTEST_STRETCH, gpus * learning.minibatch)
    return Cluster(cores, gpus, cores_per_node, envs, math.ceil(least / gpus) * gpus)


def predict(cluster: Cluster, rates: Rates, learning: Learning) -> Prediction:
    """An iteration of that cluster, by part, and the time until the score."""
    remote = max(0.0, 1 - cluster.cores_per_node / cluster.cores)
    carried = min(rates.store_bytes_per_s, rates.network_bytes_per_s)
    others = (cluster.gpus - 1) / cluster.gpus
    steps = cluster.batch / cluster.gpus * learning.epochs / learning.minibatch
    samples = cluster.batch * rates.decision_bytes
    parts = {
        # All wait for the slowest; that of n normal variables lies about √(2 ln n) deviations up.
        "sampling": cluster.batch
        / cluster.cores
        * (rates.decision_s + rates.step_s / cluster.envs)
        * (1 + rates.spread * math.sqrt(2 * math.log(cluster.cores))),
        "handling": cluster.cores * rates.handling_s,
        # One process gathers all episodes, and sends all learners but its neighbour their shares.
        "transfer": samples * ((1 - remote) / rates.store_bytes_per_s + remote / carried)
        + samples * others / carried,
        "assembly": cluster.batch / cluster.gpus * rates.assembly_s,
        # A ring sends each learner's gradients around twice.
        "learning": cluster.batch / cluster.gpus * learning.epochs / rates.learner_samples_per_s
        + (cluster.gpus > 1)
        * steps
        * (rates.exchange_s + 2 * others * rates.weights_bytes / rates.network_bytes_per_s),
        "weights": rates.weights_s
        + (cluster.nodes - 1) * rates.weights_bytes / rates.network_bytes_per_s,
    }
    per_second = cluster.batch / sum(parts.values())
    longer = max(1.0, cluster.batch / learning.batch, cluster.gpus)
    return Prediction(
        parts=parts,
        decisions_per_s=per_second,
        fewest_hours=learning.fewest_decisions / per_second / 3600,
        most_hours=learning.most_decisions * longer / per_second / 3600,
    )
