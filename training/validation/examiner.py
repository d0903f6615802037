"""Drives validation tracks, in a process of Ray's.

Nothing heavy is imported here: :class:`Examiner` first gives up its priority, then imports.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.policy.published import PublishedPolicy

_NICENESS = 19


def drive_tracks(published: PublishedPolicy, seeds: Sequence[int]) -> dict[int, float]:
    """Drive whole episodes greedily on the fast simulator; their unshaped returns by seed.

    Raises:
        BrokenPolicyError: The policy cannot be used.
    """
    import torch

    from training.evaluation.rollout import drive
    from training.policy.acting import Policy

    torch.set_num_threads(1)
    policy = Policy.from_published(published)
    policy.warm_up()
    return {seed: drive(policy, seed, simulator="fast").score for seed in seeds}


class Examiner:
    """An actor that drives with the lowest priority, beside a run that trains.

    It is an actor and no task, because a process cannot raise its priority again, and Ray reuses
    the processes of tasks.
    """

    def __init__(self) -> None:
        """Give up this process's priority."""
        os.nice(_NICENESS)

    def drive_tracks(self, published: PublishedPolicy, seeds: Sequence[int]) -> dict[int, float]:
        """See :func:`drive_tracks`."""
        return drive_tracks(published, seeds)
