"""The result of a run: its best policy by validation, after the finalists drove more tracks.

A score of few tracks is lucky or unlucky by some 20 points, and the highest of many such scores is
a lucky one. So finalists are driven on five times as many, until no policy that was driven on
fewer has a higher score than the best of them, or the time is over.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import ray
from ray.exceptions import RayError, RayTaskError

from training.environment.seeds import VALIDATION_SEEDS
from training.policy.manifest import Manifest
from training.policy.published import BrokenPolicyError, PublishedPolicy
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore
from training.store.retrying import retry
from training.store.storage import Storage
from training.store.validation_scores import (
    Validation,
    best_first,
    point_to_best,
    write_validations,
)
from training.validation.examiner import drive_tracks

logger = logging.getLogger(__name__)

_FINALISTS = 5
_TRACKS_AT_ONCE = 4
"""Of one policy, in one task."""
_ROUNDS = 5
"""In which finalists are driven; in each on as many tracks as every policy was."""
MOST_TRACKS = len(VALIDATION_SEEDS) // _ROUNDS
"""That every policy may be driven on."""
_RUNNING = 256
"""Tasks at once, at most: each policy takes some megabytes while it is driven."""


@dataclass(frozen=True)
class Result:
    """The best policy of a run."""

    manifest: Manifest
    validation: Validation

    @property
    def ref(self) -> PolicyRef:
        """Where it is published."""
        return PolicyRef(run=self.manifest.run, version=self.manifest.version)


class Finals:
    """Validates a run's policies on all cores of the cluster, once nothing trains any more."""

    def __init__(self, storage: Storage, run: str, *, tracks: int) -> None:
        """Get ready.

        Args:
            storage: Where the run has published.
            run: The run's name.
            tracks: How many tracks each policy is driven on; 0 validates nothing.
        """
        self._store = PolicyStore(storage)
        self._run = run
        self._tracks = tracks
        self._validations: dict[PolicyRef, Validation] = {}
        self._failed: set[PolicyRef] = set()

    def result(
        self, trials: Collection[str], known: Mapping[PolicyRef, Validation], *, limit_s: float
    ) -> Result | None:
        """Choose the best policy of these trials, and let ``best.json`` name the best of all runs.

        Args:
            trials: Whose policies are compared.
            known: What was validated while the run trained.
            limit_s: After so long the policy is chosen by what was driven until then.

        Returns:
            None where no policy could be validated.

        Raises:
            OSError: Storage went on to refuse.
        """
        if not self._tracks:
            return None
        listing = retry(lambda: self._store.listing(run=self._run), "listing the policies")
        manifests = {PolicyRef(run=m.run, version=m.version): m for m in listing.policies}
        self._validations = {
            ref: validation
            for ref, validation in {**listing.validations, **known}.items()
            if ref in manifests
        }
        compared = [ref for ref, manifest in manifests.items() if manifest.trial in trials]
        deadline = time.monotonic() + limit_s
        try:
            self._drive(compared, self._seeds(1), deadline)
            while finalists := self._finalists(compared):
                # All of them have driven about the same tracks when the time is over.
                for rounds in range(2, _ROUNDS + 1):
                    self._drive(finalists, self._seeds(rounds), deadline)
        except TimeoutError:
            logger.info("validation has ended after %.0f s, not all finalists drove", limit_s)
        except RayError as error:
            logger.warning("the result is chosen by what was validated until now: %s", error)
        ranked = self._ranked(compared)
        if not ranked:
            return None
        retry(self._write, "writing validation scores")
        return Result(manifests[ranked[0]], self._validations[ranked[0]])

    def _seeds(self, rounds: int) -> Sequence[int]:
        return VALIDATION_SEEDS[: rounds * self._tracks]

    def _ranked(self, refs: Iterable[PolicyRef]) -> list[PolicyRef]:
        among = set(refs) - self._failed
        return [ref for ref in best_first(self._validations) if ref in among]

    def _finalists(self, refs: Iterable[PolicyRef]) -> list[PolicyRef]:
        """The policies to drive on all tracks next.

        First the best few; then all that rank above the best of those that have driven them.
        """
        ranked = self._ranked(refs)
        done = [ref for ref in ranked if not self._missing(ref, self._seeds(_ROUNDS))]
        if len(done) < _FINALISTS:
            others = [ref for ref in ranked if ref not in done]
            return others[: _FINALISTS - len(done)]
        return ranked[: ranked.index(done[0])]

    def _missing(self, ref: PolicyRef, seeds: Sequence[int]) -> list[int]:
        known = self._validations.get(ref)
        return [seed for seed in seeds if known is None or seed not in known.scores]

    def _drive(self, refs: Iterable[PolicyRef], seeds: Sequence[int], deadline: float) -> None:
        """Drive what is not driven yet; raises RayError, and TimeoutError after the deadline."""
        task = ray.remote(num_cpus=1)(drive_tracks)
        running: dict[ray.ObjectRef[dict[int, float]], PolicyRef] = {}
        for ref, published, tracks in self._work(refs, seeds):
            while len(running) >= _RUNNING:
                self._collect(running, deadline)
            running[task.remote(published, tracks)] = ref
        while running:
            self._collect(running, deadline)

    def _work(
        self, refs: Iterable[PolicyRef], seeds: Sequence[int]
    ) -> Iterator[tuple[PolicyRef, ray.ObjectRef[PublishedPolicy], list[int]]]:
        for ref in refs:
            missing = self._missing(ref, seeds)
            if not missing:
                continue
            fetched = retry(partial(self._fetch, ref), f"reading policy {ref.version}")
            if fetched is None:
                continue
            published = ray.put(fetched)
            for start in range(0, len(missing), _TRACKS_AT_ONCE):
                yield ref, published, missing[start : start + _TRACKS_AT_ONCE]

    def _fetch(self, ref: PolicyRef) -> PublishedPolicy | None:
        try:
            return self._store.fetch(ref)
        except (FileNotFoundError, BrokenPolicyError) as error:
            self._fails(ref, error)
        return None

    def _collect(
        self, running: dict[ray.ObjectRef[dict[int, float]], PolicyRef], deadline: float
    ) -> None:
        """Take up what has ended."""
        left_s = deadline - time.monotonic()
        ended, _ = ray.wait(list(running), timeout=left_s) if left_s > 0 else ([], running)
        if not ended:
            for unended in running:
                ray.cancel(unended)
            raise TimeoutError
        for each in ended:
            ref = running.pop(each)
            try:
                scores = ray.get(each)
            except RayTaskError as error:
                self._fails(ref, error)
                continue
            known = self._validations.get(ref)
            self._validations[ref] = Validation(scores=(known.scores if known else {}) | scores)

    def _fails(self, ref: PolicyRef, error: Exception) -> None:
        logger.warning("policy %s cannot be validated: %s", ref.version, error)
        self._failed.add(ref)

    def _write(self) -> None:
        by_version = {ref.version: each for ref, each in self._validations.items()}
        write_validations(self._store.storage, self._run, by_version)
        point_to_best(self._store.storage)
