"""Compare the policies before and after a resume on the same tracks."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from statistics import fmean, stdev
from typing import Final

from training.evaluation.rollout import drive
from training.policy.acting import Policy
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore

TRACKS: Final = range(8)
"""Where they are compared."""


def around(iterations: Collection[int], restored: int) -> tuple[int, int] | None:
    """The last published policy up to a resume and the first one after it, by iteration.

    None where one of them is missing.
    """
    before = [each for each in iterations if each <= restored]
    after = [each for each in iterations if each > restored]
    return (max(before), min(after)) if before and after else None


def changes_of_score(
    store: PolicyStore, restored: Iterable[int], tracks: Sequence[int] = TRACKS
) -> list[float]:
    """How the mean return on the same tracks changed from policy to policy, at each resume.

    Args:
        store: Where the policies are.
        restored: The iterations that the run went on from.
        tracks: Seeds of the tracks.
    """
    # Of an iteration that was trained twice the later one holds.
    refs = {
        manifest.iteration: PolicyRef(run=manifest.run, version=manifest.version)
        for manifest in reversed(store.listing().policies)
    }

    @cache
    def score(iteration: int) -> float:
        policy = Policy.from_published(store.fetch(refs[iteration]))
        return fmean(drive(policy, seed, simulator="fast").score for seed in tracks)

    pairs = [around(refs, each) for each in restored]
    return [score(after) - score(before) for before, after in filter(None, pairs)]


def summary(changes: Sequence[float]) -> tuple[float, float] | None:
    """Their mean and its standard error; None where there are too few for one."""
    if len(changes) < 2:
        return None
    return fmean(changes), stdev(changes) / math.sqrt(len(changes))
