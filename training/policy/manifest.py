"""What a published policy says about itself: the manifest beside its weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import pydantic
import pydantic_core
from pydantic import Field

from training.environment.actions import ActionFilter, ActionMapping, output_count
from training.environment.observation import Pipeline
from training.policy.name import Name, Phase
from training.policy.network import Actor, NetworkShape, Precision

FORMAT_VERSION: Final = 1
_SEAL: Final = "seal"
"""Key of ``manifest.json`` with a SHA-256 of all the others and their values."""
MANIFEST_FILE = "manifest.json"
WEIGHTS_FILE: Final = "policy.safetensors"


class FileDigest(pydantic.BaseModel, frozen=True, extra="forbid"):
    """One file of a published policy, as it must be found."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(gt=0, le=256 * 1024 * 1024)]
    """In bytes."""


FileDigests = dict[Literal["policy.safetensors"], FileDigest]
"""Every file of a policy but the manifest; no other names, so none can lead out of its folder."""


class PolicyDescription(pydantic.BaseModel, frozen=True, extra="forbid"):
    """Everything but the weights that is needed to run a policy."""

    pipeline: Pipeline
    network: NetworkShape
    action_mapping: ActionMapping
    action_filter: ActionFilter

    def build_actor(self) -> Actor:
        """The network, with new weights."""
        return Actor(
            self.network,
            self.pipeline.size,
            self.pipeline.stack,
            output_count(self.action_mapping),
        )

    def differences(self, other: PolicyDescription) -> list[str]:
        """What differs from another description so that its weights have another meaning."""
        mine, others = (
            {
                "frame_skip": described.pipeline.frame_skip,
                "size": described.pipeline.size,
                "stack": described.pipeline.stack,
                **dataclasses.asdict(described.network),
                "action_mapping": described.action_mapping,
            }
            for described in (self, other)
        )
        return [
            f"its {name} is {value!r} instead of {others[name]!r}"
            for name, value in mine.items()
            if value != others[name]
        ]


class Manifest(PolicyDescription, frozen=True, extra="forbid"):
    """How to run a published policy, and where it came from."""

    format_version: Literal[1] = FORMAT_VERSION
    version: Name
    """The policy's own name; it holds a part of its weights' digest, so it is never reused."""
    recipe: Name
    run: Name
    trial: Name
    iteration: Annotated[int, Field(ge=0)]
    phase: Phase
    env_steps: Annotated[int, Field(ge=0)]
    """Decisions that the trial had sampled."""
    mean_return: pydantic.FiniteFloat | None
    """Mean return of the latest training episodes, unscaled, of sampled (not greedy) actions."""
    precision: Precision | None = None
    """Number format of the gradients that trained it; None where that is not known."""
    git_revision: str | None
    created_at: pydantic.AwareDatetime
    files: FileDigests

    @pydantic.field_validator("files")
    @classmethod
    def _names_the_weights(cls, files: FileDigests) -> FileDigests:
        if WEIGHTS_FILE not in files:
            raise ValueError(f"{WEIGHTS_FILE} is missing")
        return files

    @property
    def digest(self) -> str:
        """SHA-256 of the weights, in hexadecimal."""
        return self.files[WEIGHTS_FILE].sha256

    @property
    def order(self) -> tuple[datetime, str]:
        """Sorts policies from oldest to newest."""
        return (self.created_at, self.version)

    def to_file(self) -> bytes:
        """The contents of ``manifest.json``, sealed: what is changed in it later shows."""
        described = self.model_dump(mode="json")
        return json.dumps({**described, _SEAL: _digest_of(described)}, indent=2).encode()

    @classmethod
    def from_file(cls, content: bytes) -> Manifest:
        """Read a ``manifest.json``; one of before there were seals may have none.

        Raises:
            pydantic.ValidationError: It is no manifest.
            SealError: It is not as it was written.
        """
        try:
            described = pydantic_core.from_json(content)
        except ValueError:
            described = None
        seal = described.pop(_SEAL, None) if isinstance(described, dict) else None
        if seal is None:
            return cls.model_validate_json(content)
        # First, as it says more.
        manifest = cls.model_validate_json(json.dumps(described))
        if seal != _digest_of(described):
            raise SealError("it was changed after it was published: its seal is another's")
        return manifest


class SealError(Exception):
    """A manifest that is not as it was written."""


def _digest_of(described: dict[str, Any]) -> str:
    """The same for any order and spacing."""
    canonical = json.dumps(described, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
