"""Bodies of requests and responses, and query parameters."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.parameters import Seed
from app.policies.names import SERVED, PolicyName, Source
from training.environment.observation import Pipeline
from training.policy.name import PhaseName

if TYPE_CHECKING:
    from training.policy.manifest import Manifest
    from training.store.validation_scores import Validation


class ActBody(BaseModel):
    """The JSON body of a query."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    observations: Annotated[list[Any], Field(min_length=1)] | None = None
    """Nested lists: one observation (size, size, stack), a batch (N, size, size, stack), the last
    raw frames (stack, 96, 96, 3), oldest first, or a batch of those. Integers from 0 to 255, or
    numbers from 0 to 1."""
    dtype: Literal["uint8", "float32"] | None = None
    """Type of the numbers. Default: uint8 if all are integers, else float32."""
    frames: Annotated[list[str], Field(min_length=1)] | None = None
    """In place of observations: the last raw frames, oldest first, as PNG or JPEG in base64, or
    those of several observations one after the other. 96 × 96 pixels each."""

    @model_validator(mode="after")
    def _has_one_of_both(self) -> Self:
        if (self.observations is None) == (self.frames is None):
            raise ValueError("give either observations or frames")
        return self


class ActQuery(BaseModel):
    """The query parameters of ``POST /act``."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    seed: Seed | None = None
    """Sample from the policy's distribution with this seed; if omitted, act greedily."""
    policy: PolicyName = SERVED
    """The policy that decides: `served`, `latest`, `best`, `bundled`, or a version."""


class PolicyQuery(BaseModel):
    """The query parameters of ``GET /policy``."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    policy: PolicyName = SERVED
    """`served`, `latest`, `best`, `bundled`, or a version."""


class Actions(BaseModel):
    """Actions for a query."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    actions: list[Annotated[list[float], Field(min_length=3, max_length=3)]]
    """For each observation: steering from -1 to 1, gas and brake from 0 to 1."""
    policy: str
    """Version of the policy that decided."""
    source: Source
    """Where the policy comes from."""


class ValidationScore(BaseModel):
    """Result on the validation tracks: greedy, whole episodes, on the fast simulator."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    mean: float
    """Mean unshaped, unscaled return: the validation score."""
    episodes: int
    """Number of tracks."""
    seeds: list[int]
    """Seeds of the tracks."""

    @classmethod
    def of(cls, validation: Validation) -> ValidationScore:
        """Convert a validation from storage."""
        seeds = sorted(validation.scores)
        return cls(mean=validation.mean, episodes=validation.episodes, seeds=seeds)


class PolicySummary(BaseModel):
    """The manifest of a published policy, in brief."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    version: str
    run: str
    trial: str
    recipe: str
    iteration: int
    phase: PhaseName
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
        """Return the fields above from a manifest."""
        return {name: getattr(manifest, name) for name in PolicySummary.model_fields}


class ListedPolicy(PolicySummary):
    """A published policy in a list."""

    validation: ValidationScore | None
    """Null until the policy is validated, shortly after it is published."""


class LoadedPolicyFacts(PolicySummary):
    """A loaded policy."""

    source: Source
    """Published in storage, or bundled with the service."""
    loaded_at: datetime
    """When this process loaded it."""
    age_s: float
    """Seconds since it was published."""
    pipeline: Pipeline
    """How its observations are prepared."""
    observation_shape: tuple[int, int, int]
    """Shape of one observation: (size, size, stack)."""
    last_error: str | None
    """Why the latest check of storage did not load a newer policy; null if nothing went wrong."""


class Policies(BaseModel):
    """Policies in storage."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    storage: str
    """The storage root."""
    follow: Literal["latest", "best"]
    """Whether the latest or the best policy is served."""
    loaded: str | None
    """Version of the served policy."""
    source: Source | None
    """Where the served policy comes from."""
    bundled: PolicySummary | None
    """The policy that is served while storage has none; null if it is turned off."""
    latest: str | None
    """Version that was promoted last."""
    best: str | None
    """Version with the highest validation score; null while none has a score."""
    total: int
    """Number of policies with a valid manifest; the newest are listed."""
    validated: int
    """Number of these that have a validation score."""
    policies: list[ListedPolicy]
    """Newest first."""
    broken: dict[str, str]
    """Version → why it is not used; also for ``latest.json`` if it names no policy."""


class Health(BaseModel):
    """Response of a health probe."""

    status: Literal["alive", "ready"]
    policy: str | None = None
    """Version of the served policy, if the process is ready."""
    source: Source | None = None
    """Where the served policy comes from."""


class CurveData(BaseModel):
    """A training curve as columns of equal length; null if a number is unknown."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    trial: str
    finetune_at: int | None
    """The last iteration of the first phase, or the value in the request."""
    iteration: list[int]
    env_steps: list[int]
    phase: list[str]
    return_min: list[float | None]
    return_mean: list[float | None]
    return_max: list[float | None]
    lr: list[float | None]
    entropy_coeff: list[float | None]
    clip_param: list[float | None]
