"""Publishes the policies in the trials' checkpoints, and deletes old checkpoints and policies.

All of it runs on the driver's storage queue, outside Tune's event loop. What is published follows
from what is in storage: so a run that was killed publishes the rest when it starts again.
"""

from __future__ import annotations

import logging
import math
import os
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from training.policy.acting import Policy
from training.policy.manifest import Manifest
from training.policy.published import BrokenPolicyError, PublishedPolicy
from training.runs.retention import prune
from training.store.background import StorageQueue
from training.store.checkpoint import (
    CheckpointFile,
    DamagedCheckpointError,
    Metadata,
    checkpoints_to_delete,
    list_checkpoints,
    open_checkpoint_policy,
)
from training.store.layout import PolicyRef, run_folder
from training.store.policies import PolicyStore
from training.store.published import describe_files
from training.store.storage import Storage
from training.trials.trainable import STORED
from training.validation.validator import Validator

logger = logging.getLogger(__name__)


def git_revision() -> str | None:
    """The commit that is running: ``CARRACING_GIT_REVISION``, else what git says, else None.

    It ends in ``-dirty`` where files differ from the commit.
    """
    if revision := os.environ.get("CARRACING_GIT_REVISION"):
        return revision
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        found = subprocess.run(  # noqa: S603
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


class PublishingCallback(Callback):  # type: ignore[misc]
    """Publishes the policy of every checkpoint of every trial."""

    def __init__(
        self,
        storage: Storage,
        run: str,
        recipe_name: str,
        queue: StorageQueue,
        *,
        revision: str | None = None,
        keep_checkpoints: int,
        keep_policies: int | None = None,
        promote: bool = True,
        validator: Validator | None = None,
    ) -> None:
        """Publish to a storage root.

        Args:
            storage: The root.
            run: The run's name.
            recipe_name: The recipe, for the manifests.
            queue: Runs everything that needs storage.
            revision: The commit that trains, for the manifests.
            keep_checkpoints: How many of each trial's newest checkpoints are kept, besides the
                best one.
            keep_policies: How many of the run's newest policies are kept, and each trial's newest
                and the best one besides; None keeps all.
            promote: Whether each policy becomes the latest; else only the first one does, where
                there is no latest yet.
            validator: Gets every policy that was published.
        """
        self._storage = storage
        self._store = PolicyStore(storage)
        self._queue = queue
        self._keep_checkpoints = keep_checkpoints
        self._keep_policies = keep_policies
        self._run = run
        self._recipe_name = recipe_name
        self._revision = revision
        self._promote = promote
        self._validator = validator
        self._stored: dict[str, int] = {}
        """By trial: the newest checkpoint that it has reported."""
        self._manifests: dict[str, dict[int, Manifest]] | None = None
        """By trial and iteration: what is published; None until that was read from storage."""
        self._to_promote: PolicyRef | None = None

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        """Publish what the trial has stored since its last result."""
        del iteration, trials
        stored = int(result.get(STORED, 0))
        if stored > self._stored.get(str(trial), 0):
            self._stored[str(trial)] = stored
            self.publish([str(trial)])

    def publish(self, trials: Iterable[str]) -> None:
        """Publish, soon, the policies of these trials' checkpoints that are not published yet."""
        for trial in trials:
            self._queue.submit(f"publishing trial {trial}", partial(self._publish_trial, trial))

    def promote(self, trial: str) -> PolicyRef | None:
        """Make a trial's newest policy the latest of the store; None where it has none.

        Raises:
            OSError: Storage failed.
        """
        ref = self._newest(trial)
        if ref is not None:
            self._store.promote(ref)
        return ref

    def prune(self) -> None:
        """Delete old policies; what cannot be deleted now is deleted the next time."""
        if self._keep_policies is None:
            return
        # One of these becomes the latest when the run ends.
        spare = [ref for trial in self._published() if (ref := self._newest(trial))]
        try:
            prune(self._store, self._run, keep=self._keep_policies, spare=spare)
        except (OSError, BrokenPolicyError) as error:
            logger.warning("old policies could not be deleted: %s", error)

    def _published(self) -> dict[str, dict[int, Manifest]]:
        if self._manifests is None:
            found: dict[str, dict[int, Manifest]] = {}
            for manifest in self._store.listing(run=self._run).policies:
                found.setdefault(manifest.trial, {})[manifest.iteration] = manifest
            self._manifests = found
        return self._manifests

    def _newest(self, trial: str) -> PolicyRef | None:
        manifests = self._published().get(trial)
        return _ref(manifests[max(manifests)]) if manifests else None

    def _publish_trial(self, trial: str) -> None:
        manifests = self._published().setdefault(trial, {})
        folder = f"{run_folder(self._run)}/{trial}"
        files = list_checkpoints(self._storage, folder)
        newest = max(manifests, default=0)
        for file in reversed(files):
            if file.iteration > newest:
                self._publish_checkpoint(trial, folder, file)
        self._promote_pending()
        self._delete_checkpoints(folder, files, manifests)
        self.prune()

    def _publish_checkpoint(self, trial: str, folder: str, file: CheckpointFile) -> None:
        path = f"{folder}/{file.name}"
        try:
            metadata, weights = open_checkpoint_policy(self._storage, path)
            manifest = self._manifest(trial, metadata, weights)
            # Weights that no reader would take are not published.
            Policy.from_published(PublishedPolicy(manifest, weights)).warm_up()
        except FileNotFoundError:
            return
        except (ValueError, KeyError, DamagedCheckpointError, BrokenPolicyError) as error:
            logger.warning("the policy in %s is not published: %s", path, error)
            return
        ref = self._store.publish(manifest, weights, promote=False)
        self._published()[trial][file.iteration] = manifest
        if self._promote or not self._has_latest():
            self._to_promote = ref
        self._promote_pending()
        logger.info("published %s", manifest.version)
        if self._validator is not None:
            self._validator.add(ref)

    def _manifest(self, trial: str, metadata: Metadata, weights: bytes) -> Manifest:
        result = metadata.result
        files = describe_files(weights)
        digest = next(iter(files.values())).sha256
        mean_return = float(result["return_mean"] or math.nan)
        return Manifest.model_validate(
            {
                **{
                    name: getattr(metadata.policy, name)
                    for name in type(metadata.policy).model_fields
                },
                "version": f"{self._run}-{metadata.iteration:06d}-{digest[:8]}",
                "recipe": self._recipe_name,
                "run": self._run,
                "trial": trial,
                "iteration": metadata.iteration,
                "phase": result["phase"],
                "env_steps": result["num_env_steps_sampled_lifetime"],
                "mean_return": mean_return if math.isfinite(mean_return) else None,
                "precision": result.get("precision"),
                "git_revision": self._revision,
                "created_at": datetime.now(UTC),
                "files": files,
            }
        )

    def _promote_pending(self) -> None:
        if self._to_promote is not None:
            self._store.promote(self._to_promote)
            self._to_promote = None

    def _has_latest(self) -> bool:
        try:
            return self._store.latest_ref() is not None
        except BrokenPolicyError:
            return False

    def _delete_checkpoints(
        self, folder: str, files: list[CheckpointFile], manifests: dict[int, Manifest]
    ) -> None:
        validations = self._validator.validations if self._validator else {}
        old = checkpoints_to_delete(
            files,
            keep=self._keep_checkpoints,
            scores={
                iteration: validations[_ref(manifest)].mean
                for iteration, manifest in manifests.items()
                if _ref(manifest) in validations
            },
            returns={
                iteration: manifest.mean_return
                for iteration, manifest in manifests.items()
                if manifest.mean_return is not None
            },
        )
        for file in old:
            self._storage.delete_file(f"{folder}/{file.name}")


def _ref(manifest: Manifest) -> PolicyRef:
    return PolicyRef(run=manifest.run, version=manifest.version)
