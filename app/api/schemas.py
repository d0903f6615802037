"""The bodies of requests and answers."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.parameters import Seed
from app.policies.names import SERVED, PolicyName, Source
from training.environment.observation import Pipeline

if TYPE_CHECKING:
    from training.policy.manifest import Manifest
    from training.store.validation_scores import Validation


class ActBody(BaseModel):
    """The JSON body of a query."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    observations: Annotated[list[Any], Field(min_length=1)]
    """Nested lists: one observation (size, size, stack), a batch (N, size, size, stack), the last
    raw frames (stack, 96, 96, 3), oldest first, or a batch of those. Integers from 0 to 255, or
    numbers from 0 to 1."""
    dtype: Literal["uint8", "float32"] | None = None
    """What the numbers are. Left out: uint8 where all are integers, float32 otherwise."""


class ActQuery(BaseModel):
    """The query parameters of ``POST /act``."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    seed: Seed | None = None
    """Sample from the policy's distribution with this seed; left out, act greedily."""
    policy: PolicyName = SERVED
    """Who decides: `served`, `latest`, `best`, `bundled`, or a version."""


class PolicyQuery(BaseModel):
    """The query parameters of ``GET /policy``."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    policy: PolicyName = SERVED
    """`served`, `latest`, `best`, `bundled`, or a version."""


class Actions(BaseModel):
    """What to do."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    actions: list[Annotated[list[float], Field(min_length=3, max_length=3)]]
    """For each observation: steering from -1 to 1, gas and brake from 0 to 1."""
    policy: str
    """Version of the policy that decided."""
    source: Source
    """Where that policy comes from."""


class ValidationScore(BaseModel):
    """How a policy drove validation tracks: greedily, whole episodes, on the fast simulator."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    mean: float
    """Mean unshaped, unscaled return: the validation score."""
    episodes: int
    """How many tracks were driven."""
    seeds: list[int]
    """Of the tracks."""

    @classmethod
    def of(cls, validation: Validation) -> ValidationScore:
        """The score of these episodes."""
        seeds = sorted(validation.scores)
        return cls(mean=validation.mean, episodes=validation.episodes, seeds=seeds)


class PolicySummary(BaseModel):
    """What a published policy says about itself."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    version: str
    run: str
    trial: str
    recipe: str
    iteration: int
    phase: Literal["explore", "stabilize"]
    env_steps: int
    """Decisions that the trial had sampled."""
    mean_return: float | None
    """Mean return of the latest training episodes, unscaled, of sampled (not greedy) actions."""
    git_revision: str | None
    created_at: datetime
    digest: str
    """SHA-256 of the weights."""

    @staticmethod
    def facts(manifest: Manifest) -> dict[str, Any]:
        """The fields above, out of a manifest."""
        return {name: getattr(manifest, name) for name in PolicySummary.model_fields}


class ListedPolicy(PolicySummary):
    """A published policy in a list."""

    validation: ValidationScore | None
    """Null until it was validated, shortly after it is published."""


class LoadedPolicyFacts(PolicySummary):
    """A policy that is ready to drive."""

    source: Source
    """Published in storage, or bundled with the service."""
    loaded_at: datetime
    """When this process had it ready."""
    age_s: float
    """Seconds since it was published."""
    pipeline: Pipeline
    """How its observations are made."""
    observation_shape: tuple[int, int, int]
    """Of one observation: (size, size, stack)."""
    last_error: str | None
    """Why the latest look at storage did not lead to a newer policy, if it should have."""


class Policies(BaseModel):
    """What storage holds."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    storage: str
    """The root that is looked in."""
    follow: Literal["latest", "best"]
    """Which policy is served."""
    loaded: str | None
    """Version that is being served."""
    source: Source | None
    """Where that one comes from."""
    bundled: PolicySummary | None
    """What is served while storage has nothing; null where that is turned off."""
    latest: str | None
    """Version that was promoted last."""
    best: str | None
    """Version with the highest validation score; null while none has a score."""
    total: int
    """Whole policies by their manifests, of which the newest are listed."""
    validated: int
    """How many of them have a validation score."""
    policies: list[ListedPolicy]
    """Newest first."""
    broken: dict[str, str]
    """Version → why it is not to be used; and the same of ``latest.json``, where it names none."""


class Health(BaseModel):
    """A probe's answer."""

    status: Literal["alive", "ready"]
    policy: str | None = None
    """Version that is being served, of a process that is ready."""
    source: Source | None = None
    """Where that one comes from."""


class CurveData(BaseModel):
    """A training curve as columns of equal length; null where a number is not known."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    trial: str
    finetune_at: int | None
    """The last iteration of the exploring phase, or what was asked for."""
    iteration: list[int]
    env_steps: list[int]
    phase: list[str]
    return_min: list[float | None]
    return_mean: list[float | None]
    return_max: list[float | None]
    lr: list[float | None]
    entropy_coeff: list[float | None]
    clip_param: list[float | None]
