"""Validation scores: what they are, where they lie, and which policy is the best by them.

A policy's validation score is the mean unshaped return of whole greedy episodes on validation
tracks, on the fast simulator. Every policy of a run is driven on the same tracks. The scores lie in
one file beside the run's policies, which only that run's training writes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from statistics import fmean
from typing import Annotated

import pydantic
from pydantic import Field

from training.policy.manifest import MANIFEST_FILE
from training.policy.name import Name
from training.policy.published import BrokenPolicyError
from training.store.layout import BEST_FILE, RUNS, PolicyRef, validation_file
from training.store.pointers import answers, read_pointer, write_pointer
from training.store.published import faults
from training.store.storage import Storage

logger = logging.getLogger(__name__)

_LOOKS = 5
"""At all scores, while other runs write theirs."""


class Validation(pydantic.BaseModel, frozen=True, extra="forbid"):
    """How a policy drove validation tracks."""

    scores: Annotated[dict[int, pydantic.FiniteFloat], Field(min_length=1)]
    """By the track's seed: the episode's return, unshaped and unscaled."""

    @property
    def mean(self) -> float:
        """The validation score."""
        return fmean(self.scores.values())

    @property
    def episodes(self) -> int:
        """How many tracks were driven."""
        return len(self.scores)


Validations = Mapping[str, Validation]
"""By version: the validations of one run's policies."""

_File: pydantic.TypeAdapter[dict[Name, Validation]] = pydantic.TypeAdapter(dict[Name, Validation])


def read_validations(storage: Storage, run: str) -> dict[str, Validation]:
    """A run's validations; none where there is no such file, or one that alone cannot be read.

    Raises:
        OSError: Storage is away.
    """
    name = validation_file(run)
    try:
        return _File.validate_json(storage.read(name))
    except FileNotFoundError:
        return {}
    except pydantic.ValidationError as error:
        logger.warning("%s is not valid, its scores are ignored: %s", name, faults(error))
    except OSError as error:
        if not answers(storage):
            raise
        logger.warning("%s cannot be read, its scores are ignored: %s", name, error)
    return {}


def write_validations(storage: Storage, run: str, validations: Validations) -> None:
    """Write a run's validations; raises OSError when storage is away."""
    storage.write(validation_file(run), _File.dump_json(dict(validations), indent=1))


def best_first(validations: Mapping[PolicyRef, Validation]) -> list[PolicyRef]:
    """The policies by their validation score, the highest first; of equals the newer version."""

    def rank(ref: PolicyRef) -> tuple[float, str]:
        # Sums of the same rewards may differ by rounding.
        return round(validations[ref].mean, 3), ref.version

    return sorted(validations, key=rank, reverse=True)


def point_to_best(storage: Storage) -> PolicyRef | None:
    """Let ``best.json`` name the policy with the highest validation score in all runs.

    Several runs may do so at the same time. Each writes its own scores first, and looks at all
    scores again after it has written ``best.json``: so the last writer has seen them all.

    Returns:
        The best policy; None where no policy has a score.

    Raises:
        OSError: Storage is away.
    """
    best = None
    for _ in range(_LOOKS):
        best = _find_best(storage)
        if best is None:
            break
        try:
            if best == read_pointer(storage, "best"):
                break
        except BrokenPolicyError as error:
            logger.warning("%s is replaced: %s", BEST_FILE, error)
        write_pointer(storage, "best", best)
    return best


def _find_best(storage: Storage) -> PolicyRef | None:
    """By the runs' scores alone, without listing all policies."""
    validations = {
        PolicyRef(run=run, version=version): validation
        for run in storage.folders(RUNS)
        for version, validation in read_validations(storage, run).items()
    }
    for ref in best_first(validations):
        try:
            storage.read(f"{ref.folder}/{MANIFEST_FILE}")
        except FileNotFoundError:
            continue  # it was deleted
        return ref
    return None
