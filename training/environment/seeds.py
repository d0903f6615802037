"""Where seeds come from: training's are never those that people give, or scores are taken on.

A seed starts an environment's random numbers (gymnasium's ``np_random``), and each ``reset`` draws
a track from them. The track that a seed names, in a score or a film, is the first one drawn. In
training only the first reset of an environment has a seed, and every later one draws from the
numbers that follow. What is kept apart is where random numbers start: training's at 2**31 and
above, all others below. So training never draws from the numbers that a score's track comes from.
A trial that goes on after some iterations starts from others than it began with, see
``training.rllib.sampling.fresh_tracks``.
A run that is given no seed starts at 128 random bits, which are below 2**31 once in 2**97.
"""

from __future__ import annotations

from typing import Final

import numpy as np

GIVEN_SEEDS: Final = range(2**31)
"""Seeds that people give, and scores are taken on."""
TRAINING_SEEDS: Final = range(2**31, 2**32)
"""Seeds of training's environments."""
SCORE_SEEDS: Final = range(1_000_000, 1_000_100)
"""The tracks of a score: always these, so that scores can be compared."""
VALIDATION_SEEDS: Final = range(2_000_000, 2_000_040)
"""The tracks of a validation score: the first of them for each policy, all for a finalist."""


def spread(seed: int) -> int:
    """Hash a run's seed before RLlib adds an env runner's index to it.

    Otherwise runs with neighbouring seeds would share most tracks and exploration noise.

    Args:
        seed: One of :data:`GIVEN_SEEDS`.

    Returns:
        Another one of them.
    """
    return int(np.random.SeedSequence(seed).generate_state(1)[0]) % GIVEN_SEEDS.stop


def environment_seeds(seed: int, count: int, *, after: int = 0) -> list[int]:
    """A seed of its own for each environment of an env runner, from the env runner's seed.

    Env runners have consecutive seeds. Counting on from them, as gymnasium does, would give
    neighbouring env runners the same tracks in all environments but one.

    Args:
        seed: Of the env runner; not negative.
        count: How many environments it has.
        after: Iterations of the trial that came before, in which other tracks were driven.

    Returns:
        ``count`` of :data:`TRAINING_SEEDS`.
    """
    children = np.random.SeedSequence((seed, after) if after else seed).spawn(count)
    return [int(child.generate_state(1)[0]) | TRAINING_SEEDS.start for child in children]
