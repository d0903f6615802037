"""Checkpoint → published policy, as training goes; and the best checkpoint kept."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ray.tune import Callback, Checkpoint
from ray.tune.experiment import Trial

from training.policy.acting import Policy, weights_to_bytes
from training.policy.manifest import Manifest
from training.rllib.checkpoint import NotACheckpointError, load_actor
from training.runs.best_checkpoint import BestCheckpoints
from training.runs.retention import prune
from training.runs.trial_checkpoints import survey
from training.runs.whole_files import reading
from training.store.layout import PolicyRef, run_folder
from training.store.policies import PolicyStore
from training.store.published import BrokenPolicyError, PublishedPolicy, describe_files
from training.store.retrying import patiently, pause_before
from training.store.storage import Storage
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


@dataclass
class _Unpublished:
    """A checkpoint that storage did not let become a policy, or become the kept best one."""

    result: Mapping[str, Any]
    checkpoint: Checkpoint
    attempts: int = 0
    next_at: float = 0.0
    done: int = 0
    """Steps that need not be taken again: a policy is published, and the latest, once."""


class PublishingCallback(Callback):  # type: ignore[misc]
    """Publishes every checkpoint of every trial, and keeps a copy of each trial's best one.

    Where storage errors, training goes on, and the trial's newest checkpoint is tried again.
    """

    def __init__(
        self,
        storage: Storage,
        run: str,
        recipe_name: str,
        *,
        revision: str | None = None,
        keep_policies: int | None = None,
        promote: bool = True,
        validator: Validator | None = None,
    ) -> None:
        """Publish to a storage root.

        Args:
            storage: The root.
            run: The run's name.
            recipe_name: The recipe, for the manifests.
            revision: The commit that trains, for the manifests.
            keep_policies: How many of the run's newest policies are kept, and each trial's newest
                and the best one besides; None keeps all.
            promote: Whether each policy becomes the latest; else only the first one does, where
                there is no latest yet.
            validator: Gets every policy that was published.
        """
        self._storage = storage
        self._store = PolicyStore(storage)
        self._keep_policies = keep_policies
        self._run = run
        self._recipe_name = recipe_name
        self._revision = revision
        self._promote = promote
        self._validator = validator
        self._best = BestCheckpoints(storage, run)
        self._published: dict[str, PolicyRef] = {}
        self._unpublished: dict[str, _Unpublished] = {}

    def get_state(self) -> dict[str, Any]:
        """What a resumed run needs: what each trial's best checkpoint is, and its newest policy."""
        published = {trial: ref.model_dump() for trial, ref in self._published.items()}
        return {**self._best.get_state(), "published": published}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take up where :meth:`get_state` left off."""
        self._best.set_state(state)
        self._published = {
            trial: PolicyRef.model_validate(ref) for trial, ref in state["published"].items()
        }

    def on_checkpoint(
        self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Checkpoint, **_: Any
    ) -> None:
        """Publish; a failure is reported, and training goes on."""
        del iteration, trials
        self._unpublished.pop(trial.trial_id, None)
        self._try(trial.trial_id, _Unpublished(dict(trial.last_result), checkpoint))

    def on_step_end(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Try again what storage has refused; keep the best checkpoint by new scores."""
        del iteration, trials
        if self._validator is not None:
            self._best.keep_by_score(self._validator.validations)
        for trial, unpublished in list(self._unpublished.items()):
            if time.monotonic() >= unpublished.next_at:
                self._try(trial, unpublished)

    def finish(self) -> None:
        """Publish what is still to be; raises OSError when storage goes on to refuse it."""
        for trial, unpublished in list(self._unpublished.items()):
            patiently(
                lambda trial=trial, unpublished=unpublished: self._publish_and_keep(  # type: ignore[misc]
                    trial, unpublished
                ),
                f"publishing the newest checkpoint of trial {trial}",
            )
            del self._unpublished[trial]

    def catch_up(self, trials: Collection[str]) -> None:
        """Publish what a run that was killed had stored of these trials and not published.

        It may have been trying to, and known of the trial's end already. Raises OSError when
        storage goes on to refuse it.
        """
        listing = patiently(lambda: self._store.listing(run=self._run), "listing the policies")
        for trial in trials:
            own = {m.version: m for m in listing.policies if m.trial == trial}
            newest = max(own.values(), key=lambda manifest: manifest.iteration, default=None)
            iteration = newest.iteration if newest else 0
            known = self._published.get(trial)
            known_iteration = own[known.version].iteration if known and known.version in own else 0
            if newest and known_iteration < iteration:
                self._published[trial] = PolicyRef(run=self._run, version=newest.version)
            patiently(
                lambda trial=trial, iteration=iteration: self._publish_newer(trial, iteration),  # type: ignore[misc]
                f"publishing the newest checkpoint of trial {trial}",
            )

    def _publish_newer(self, trial: str, iteration: int) -> None:
        """Publish a trial's newest whole checkpoint, if it was taken after that iteration."""
        folder = f"{run_folder(self._run)}/{trial}"
        usable = survey(self._storage, folder).usable
        if not usable or usable[0].listed.iteration <= iteration:
            return
        path = self._storage.at(f"{folder}/{usable[0].name}")
        checkpoint = Checkpoint(path, self._storage.filesystem)
        self._publish_and_keep(trial, _Unpublished(usable[0].listed.result, checkpoint))
        self.prune()

    def promote(self, trial: str) -> PolicyRef | None:
        """Make a trial's newest policy the latest of the store; None where it has none."""
        ref = self._published.get(trial)
        if ref is not None:
            self._store.promote(ref)
        return ref

    def _try(self, trial: str, unpublished: _Unpublished) -> None:
        try:
            self._publish_and_keep(trial, unpublished)
        except OSError as error:
            unpublished.attempts += 1
            pause = pause_before(unpublished.attempts)
            unpublished.next_at = time.monotonic() + pause
            self._unpublished[trial] = unpublished
            logger.warning(
                "the checkpoint of trial %s could not be published, next try in %.0f s: %s",
                trial,
                pause,
                error,
            )
        else:
            self._unpublished.pop(trial, None)
            self.prune()

    def _publish_and_keep(self, trial: str, unpublished: _Unpublished) -> None:
        for step in (self._publish, self._best.keep_by_return)[unpublished.done :]:
            try:
                step(trial, unpublished.result, unpublished.checkpoint)
            except (ValueError, NotACheckpointError, BrokenPolicyError):
                logger.exception("the checkpoint of trial %s cannot be published", trial)
            unpublished.done += 1

    def _publish(self, trial: str, result: Mapping[str, Any], checkpoint: Checkpoint) -> None:
        readable = Checkpoint(checkpoint.path, reading(checkpoint.filesystem))
        with readable.as_directory() as folder:
            actor, description = load_actor(Path(folder))
        weights = weights_to_bytes(actor)
        files = describe_files(weights)
        iteration = int(result["training_iteration"])
        mean_return = float(result["return_mean"])
        digest = next(iter(files.values())).sha256
        manifest = Manifest(
            version=f"{self._run}-{iteration:06d}-{digest[:8]}",
            recipe=self._recipe_name,
            run=self._run,
            trial=trial,
            iteration=iteration,
            phase=result["phase"],
            env_steps=int(result["num_env_steps_sampled_lifetime"]),
            mean_return=mean_return if math.isfinite(mean_return) else None,
            precision=result.get("precision"),
            git_revision=self._revision,
            created_at=datetime.now(UTC),
            files=files,
            **{name: getattr(description, name) for name in type(description).model_fields},
        )
        published = PublishedPolicy(manifest, weights)
        # What no reader would take is not published: a network that has diverged, say.
        Policy.from_published(published).warm_up()
        promote = self._promote or not self._has_latest()
        ref = self._published[trial] = self._store.publish(manifest, weights, promote=promote)
        logger.info("published %s", manifest.version)
        if self._validator is not None:
            self._validator.add(ref)
            self._best.offer(trial, ref, iteration, checkpoint)

    def _has_latest(self) -> bool:
        try:
            return self._store.latest_ref() is not None
        except BrokenPolicyError:
            return False

    def prune(self) -> None:
        """Delete old policies; what could not be deleted now goes the next time."""
        if self._keep_policies is None:
            return
        # One of these becomes the latest when the run ends.
        spare = self._published.values()
        try:
            prune(self._store, self._run, keep=self._keep_policies, spare=spare)
        except (OSError, BrokenPolicyError) as error:
            logger.warning("old policies could not be deleted: %s", error)
