"""Where everything lies below a storage root.

::

    <root>/latest.json                                   which policy to use
    <root>/runs/<run>/policies/<version>/policy.safetensors
    <root>/runs/<run>/policies/<version>/manifest.json   written last: it exists from here on
    <root>/runs/<run>/progress.csv, best_config.json, <trial>/…   written by training
"""

from __future__ import annotations

import pydantic

from training.manifest import Name

RUNS = "runs"
LATEST_FILE = "latest.json"
PROGRESS_FILE = "progress.csv"


class PolicyRef(pydantic.BaseModel, frozen=True, extra="forbid"):
    """Where a policy is: a run and a version below the storage root."""

    run: Name
    version: Name

    @property
    def folder(self) -> str:
        """The policy's folder, relative to the storage root."""
        return f"{run_folder(self.run)}/policies/{self.version}"


def run_folder(run: str) -> str:
    """The folder of a run, relative to the storage root."""
    return f"{RUNS}/{run}"


def progress_file(run: str) -> str:
    """The aggregate ``progress.csv`` of a run, relative to the storage root."""
    return f"{run_folder(run)}/{PROGRESS_FILE}"
