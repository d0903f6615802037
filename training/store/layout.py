"""Where everything lies below a storage root.

::

    <root>/latest.json                                   the policy that was promoted last
    <root>/best.json                                     the one with the highest validation score
    <root>/runs/<run>/policies/validation.json           the validation scores of a run's policies
    <root>/runs/<run>/policies/<version>/policy.safetensors
    <root>/runs/<run>/policies/<version>/manifest.json   written last: it exists from here on
    <root>/films/<etag>.gif, .webp or .mp4                finished films, written by the service
    <root>/runs/<run>/progress.csv, best_config.json, <trial>/…   written by training
"""

from __future__ import annotations

import pydantic

from training.policy.name import Name

RUNS = "runs"
LATEST_FILE = "latest.json"
BEST_FILE = "best.json"
VALIDATION_FILE = "validation.json"
PROGRESS_FILE = "progress.csv"


class PolicyRef(pydantic.BaseModel, frozen=True, extra="forbid"):
    """Where a policy is: a run and a version below the storage root."""

    run: Name
    version: Name

    @classmethod
    def of_version(cls, version: str) -> PolicyRef:
        """The place of a version, whose name is ``<run>-<iteration>-<digest>``.

        Raises:
            pydantic.ValidationError: It is not such a name.
        """
        return cls(run=version.rsplit("-", 2)[0], version=version)

    @property
    def folder(self) -> str:
        """The policy's folder, relative to the storage root."""
        return f"{run_folder(self.run)}/policies/{self.version}"


def run_folder(run: str) -> str:
    """The folder of a run, relative to the storage root."""
    return f"{RUNS}/{run}"


def validation_file(run: str) -> str:
    """The validation scores of a run's policies, relative to the storage root."""
    return f"{run_folder(run)}/policies/{VALIDATION_FILE}"


def progress_file(run: str) -> str:
    """The aggregate ``progress.csv`` of a run, relative to the storage root."""
    return f"{run_folder(run)}/{PROGRESS_FILE}"
