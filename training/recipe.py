"""Every hyperparameter of training, once, each with its meaning.

The command line of ``python -m training.train`` is derived from :class:`Recipe`. The network and
the observation pipeline that a published policy's manifest describes are read off it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from training.environment.actions import ActionFilter, ActionMapping
from training.environment.coaching import Coaching
from training.environment.observation import Pipeline
from training.environment.pipeline import Simulator
from training.policy.manifest import PolicyDescription
from training.policy.name import PhaseName
from training.policy.network import (
    ConvLayer,
    CriticKind,
    Initialization,
    NetworkShape,
    PrecisionOption,
)


@dataclass(frozen=True)
class LogUniform:
    """A search range sampled evenly on the logarithmic scale, both ends positive."""

    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """A search range of a few values, each as likely as the others."""

    values: tuple[float, ...]


@dataclass(frozen=True)
class Asha:
    """When the search stops a trial (asynchronous successive halving)."""

    grace_period: int = 15
    """Iterations before a trial may be stopped."""
    reduction_factor: int = 3
    """At each rung about one of this many trials continues."""


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one trial. Durations are in training iterations unless noted.

    The default of a new field must be what earlier versions did, because older runs resume with it.
    """

    max_iters: int = 1000
    """Training iterations of a trial; each samples one batch and learns from it."""
    finetune_at: int = 500
    """Last iteration of phase explore; the iterations after it are of phase finetune."""
    finetune_lr: float = 5e-5
    """Learning rate in phase finetune."""
    finetune_entropy: float = 1e-3
    """Entropy coefficient in phase finetune."""
    finetune_clip: float = 0.15
    """PPO clip range in phase finetune."""
    anneal_to: float = 1.0
    """Learning rate and entropy coefficient are multiplied by a factor that falls linearly from 1
    to this value over the trial; 1 keeps them constant within each phase."""
    num_samples: int = 6
    """Trials of the hyperparameter search."""

    lr: float = 2e-4
    """Adam's learning rate in phase explore (searched)."""
    entropy_coeff: float = 0.037
    """Weight of the entropy bonus in phase explore (searched)."""
    clip_param: float = 0.2
    """PPO's clip range for the probability ratio in phase explore."""
    gamma: float = 0.99
    """Discount per decision."""
    gae_lambda: float = 0.95
    """Lambda of generalized advantage estimation."""
    vf_loss_coeff: float = 0.5
    """Weight of the value function's loss."""
    vf_clip_param: float = 1e6
    """Limit of the squared value error. 1e6 does not limit it; with RLlib's default of 10, errors
    above 3.2 have no gradient."""
    kl_coeff: float = 0.0
    """Initial weight of the loss on the KL divergence from the sampling policy; adapted after each
    iteration so that the divergence approaches kl_target. 0 turns this loss off."""
    kl_target: float = 0.01
    """KL divergence per iteration that the weight is adapted to."""
    grad_clip: float = 0.5
    """Largest global norm of the gradient."""
    adam_epsilon: float = 1e-8
    """Added to Adam's denominator."""
    train_batch_size_per_learner: int = 4096
    """Decisions sampled per iteration (searched)."""
    minibatch_size: int = 256
    """Decisions per gradient step (searched)."""
    num_epochs: int = 10
    """Passes over the batch per iteration (searched)."""

    precision: PrecisionOption = "fp32"
    """Number format of gradients: fp32, bf16, or auto for the faster one on the learner's device.
    Policies are always fp32."""

    simulator: Simulator = "fast"
    """Simulator for sampling: fast, or stock for Gymnasium's own, which has the same physics but
    draws far slower."""
    num_env_runners: int = 4
    """Processes that sample; fewer if the cluster has too few CPUs."""
    num_envs_per_env_runner: int = 2
    """Environments per sampling process."""
    checkpoint_every: int = 10
    """Iterations between checkpoints; each is also published as a policy."""
    keep_checkpoints: int = 3
    """Newest checkpoints kept per trial, besides the best one."""

    asha: Annotated[Asha, tyro.conf.Suppress] = field(default_factory=Asha)
    pipeline: Annotated[Pipeline, tyro.conf.Suppress] = field(default_factory=Pipeline)
    network: Annotated[NetworkShape, tyro.conf.Suppress] = field(default_factory=NetworkShape)
    critic: Annotated[CriticKind, tyro.conf.Suppress] = "separate"
    initialization: Annotated[Initialization, tyro.conf.Suppress] = "default"
    coaching: Annotated[Coaching, tyro.conf.Suppress] = field(default_factory=Coaching)
    finetune_coaching: Annotated[Coaching, tyro.conf.Suppress] = field(default_factory=Coaching)
    """Coaching in phase finetune."""
    action_mapping: Annotated[ActionMapping, tyro.conf.Suppress] = "clip_unit_to_bounds"
    action_filter: Annotated[ActionFilter, tyro.conf.Suppress] = field(
        default_factory=lambda: ActionFilter(smooth_alpha=0.2, steer_deadzone=0.05, steer_clip=0.8)
    )
    search: Annotated[Mapping[str, LogUniform | Choice], tyro.conf.Suppress] = field(
        default_factory=lambda: {
            "lr": LogUniform(1e-4, 5e-4),
            "entropy_coeff": LogUniform(5e-3, 5e-2),
            "train_batch_size_per_learner": Choice((4096, 8192)),
            "minibatch_size": Choice((256, 512)),
            "num_epochs": Choice((6, 10)),
        }
    )

    def __post_init__(self) -> None:
        """Check values and combinations.

        Raises:
            ValueError: An option is out of range; names it, its value and what is accepted.
        """
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("gamma", "gae_lambda", "anneal_to"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be in (0, 1]")
        for name in ("entropy_coeff", "finetune_entropy", "finetune_at", "kl_coeff"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        if self.num_samples > 1 and not self.search:
            raise ValueError(
                f"num_samples is {self.num_samples}, but this recipe searches nothing: "
                "all trials would be the same; it must be 1"
            )
        if self.minibatch_size > self.train_batch_size_per_learner:
            raise ValueError(
                f"minibatch_size {self.minibatch_size} is larger than "
                f"train_batch_size_per_learner {self.train_batch_size_per_learner}; "
                "a minibatch is a part of the batch"
            )

    def phase(self, iteration: int) -> PhaseName:
        """The phase that trains iteration ``iteration`` (counted from 1)."""
        return "explore" if iteration <= self.finetune_at else "finetune"

    def coaching_in(self, iteration: int) -> Coaching:
        """The coaching of that iteration (counted from 1)."""
        return self.coaching if self.phase(iteration) == "explore" else self.finetune_coaching

    def annealing(self, iteration: int) -> float:
        """The factor on learning rate and entropy coefficient in that iteration (from 1 on)."""
        done = (iteration - 1) / max(1, self.max_iters - 1)
        return 1.0 + (self.anneal_to - 1.0) * min(1.0, done)

    def description(self) -> PolicyDescription:
        """How to run a policy of this recipe."""
        return PolicyDescription(
            pipeline=self.pipeline,
            network=self.network,
            action_mapping=self.action_mapping,
            action_filter=self.action_filter,
        )


_AT_LEAST_ONE = (
    "max_iters",
    "num_samples",
    "train_batch_size_per_learner",
    "minibatch_size",
    "num_epochs",
    "num_env_runners",
    "num_envs_per_env_runner",
    "checkpoint_every",
    "keep_checkpoints",
)
_POSITIVE = (
    "lr",
    "finetune_lr",
    "clip_param",
    "finetune_clip",
    "vf_clip_param",
    "vf_loss_coeff",
    "kl_target",
    "grad_clip",
    "adam_epsilon",
)

_PUBLISHED = Recipe(kl_coeff=0.2)

RECIPES: dict[str, Recipe] = {
    "published": _PUBLISHED,
    "swift": Recipe(
        max_iters=400,
        finetune_at=240,
        num_samples=1,
        lr=7e-4,
        entropy_coeff=0.003,
        finetune_lr=4.5e-4,
        finetune_entropy=0.0015,
        finetune_clip=0.1,
        anneal_to=0.02,
        gamma=0.98,
        train_batch_size_per_learner=2048,
        minibatch_size=256,
        num_epochs=4,
        adam_epsilon=1e-5,
        num_env_runners=2,
        num_envs_per_env_runner=8,
        checkpoint_every=20,
        pipeline=Pipeline(reward_scale=0.05),
        network=NetworkShape(
            convolutions=(ConvLayer(16, 8, 4), ConvLayer(32, 4, 2), ConvLayer(32, 3, 1)),
            padding="valid",
            distribution="beta",
        ),
        critic="shared",
        initialization="orthogonal",
        coaching=Coaching(skipped_tile=3.0, patience=150, spin=0.002, endless=True),
        finetune_coaching=Coaching(gap=200.0, lost=500.0, patience=250, spin=0.002, endless=True),
        action_mapping="steering_and_pedal",
        action_filter=ActionFilter(),
        search={},
    ),
    # Small batches, so that on a laptop a newer policy drives every minute or so.
    "demo": dataclasses.replace(
        _PUBLISHED,
        max_iters=60,
        finetune_at=40,
        num_samples=2,
        num_env_runners=2,
        train_batch_size_per_learner=1024,
        minibatch_size=128,
        num_epochs=4,
        checkpoint_every=2,
    ),
}
