"""Validates a run's policies while it trains, in a thread of the driver and a process of Ray's.

Training never waits for it: a policy is published first and validated when there is time, the
newest first. What is not validated when a run is killed is validated after it was resumed, or when
the run ends, see :mod:`training.validation.finals`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import ray
from ray.exceptions import RayError, RayTaskError

from training.environment.seeds import VALIDATION_SEEDS
from training.policy.published import BrokenPolicyError
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore
from training.store.retrying import pause_before
from training.store.storage import Storage
from training.store.validation_scores import (
    Validation,
    best_first,
    point_to_best,
    write_validations,
)
from training.validation.examiner import Examiner

logger = logging.getLogger(__name__)

_ATTEMPTS = 3
"""At one policy, before its validation is left to the end of the run."""
_LOOK_EVERY_S = 0.5
_CLOSING_S = 5.0


class Validator:
    """Validates policies as they are published; a context manager.

    Its thread alone writes the run's validation scores, until it is closed.
    """

    def __init__(self, storage: Storage, run: str, *, tracks: int) -> None:
        """Get ready.

        Args:
            storage: Where the run publishes.
            run: The run's name.
            tracks: How many tracks each policy is driven on; 0 validates nothing.
        """
        self._store = PolicyStore(storage)
        self._run = run
        self._seeds = VALIDATION_SEEDS[:tracks]
        self._validations: dict[PolicyRef, Validation] = {}
        self._best: PolicyRef | None = None
        self._waiting: list[PolicyRef] = []
        self._attempts: dict[PolicyRef, int] = {}
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._examiner: Any = None
        self._thread = threading.Thread(target=self._work, name="validator", daemon=True)

    @property
    def validations(self) -> dict[PolicyRef, Validation]:
        """What is known of this run's policies so far."""
        with self._changed:
            return dict(self._validations)

    def __enter__(self) -> Self:
        """Start; policies that an earlier process of this run left are validated too."""
        if self._seeds:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop. A policy that is being driven is left, and the end of the run is not held up."""
        self._closing.set()
        with self._changed:
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(_CLOSING_S)

    def add(self, ref: PolicyRef) -> None:
        """Validate a policy that was published; returns at once."""
        with self._changed:
            self._waiting.append(ref)
            self._changed.notify()

    def _work(self) -> None:
        try:
            self._until_done(self._take_up)
            while (ref := self._next()) is not None:
                self._validate(ref)
        except Exception:
            logger.exception("policies are not validated until the run ends")
        finally:
            if self._examiner is not None:
                ray.kill(self._examiner)

    def _take_up(self) -> None:
        """Find out which policies of this run were validated before."""
        listing = self._store.listing(run=self._run)
        known = {
            ref: validation
            for ref, validation in listing.validations.items()
            if validation.scores.keys() >= set(self._seeds)
        }
        refs = [PolicyRef(run=m.run, version=m.version) for m in reversed(listing.policies)]
        with self._changed:
            self._validations = known
            added = [ref for ref in self._waiting if ref not in refs]
            self._waiting = [*(ref for ref in refs if ref not in known), *added]
        if known:
            self._write()

    def _next(self) -> PolicyRef | None:
        """The newest policy that waits; None when closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
            return None if self._closing.is_set() else self._waiting.pop()

    def _validate(self, ref: PolicyRef) -> None:
        try:
            scores = self._drive(ref)
        except FileNotFoundError:
            return  # it was deleted
        except (BrokenPolicyError, RayTaskError) as error:
            logger.warning("policy %s cannot be validated: %s", ref.version, error)
            return
        except (OSError, RayError) as error:
            self._try_later(ref, error)
            return
        if scores is None:
            return
        with self._changed:
            self._validations[ref] = validation = Validation(scores=scores)
        logger.info("policy %s: validation score %.1f", ref.version, validation.mean)
        self._until_done(self._write)

    def _drive(self, ref: PolicyRef) -> dict[int, float] | None:
        """The scores of a policy; None when closing."""
        published = self._store.fetch(ref)
        if self._examiner is None:
            self._examiner = ray.remote(num_cpus=0)(Examiner).remote()
        driving = self._examiner.drive_tracks.remote(published, self._seeds)
        while not self._closing.is_set():
            done, _ = ray.wait([driving], timeout=_LOOK_EVERY_S)
            if done:
                scores: dict[int, float] = ray.get(driving)
                return scores
        return None

    def _try_later(self, ref: PolicyRef, error: Exception) -> None:
        """Put a policy behind those that wait, if it was not tried too often."""
        if isinstance(error, RayError):
            self._examiner = None  # its process or its node is lost
        attempts = self._attempts[ref] = self._attempts.get(ref, 0) + 1
        logger.warning("policy %s is not validated yet: %s", ref.version, error)
        if attempts < _ATTEMPTS:
            with self._changed:
                self._waiting.insert(0, ref)
        self._closing.wait(pause_before(attempts))

    def _write(self) -> None:
        validations = self.validations
        by_version = {ref.version: validation for ref, validation in validations.items()}
        write_validations(self._store.storage, self._run, by_version)
        best = best_first(validations)[0]
        if best != self._best:
            point_to_best(self._store.storage)
            self._best = best

    def _until_done(self, step: Callable[[], None]) -> None:
        """Do something with storage, again and again while it errors, until this is closed."""
        attempts = 0
        while not self._closing.is_set():
            try:
                step()
            except OSError as error:
                attempts += 1
                pause_s = pause_before(attempts)
                logger.warning("validation waits %.0f s for storage: %s", pause_s, error)
                self._closing.wait(pause_s)
            else:
                return
