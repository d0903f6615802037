"""Detects a trial that has diverged: a loss, an entropy or a weight that is not a finite number.

Such a trial cannot recover, because every later update starts from these numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import LEARNER_RESULTS

from training.rllib.learning.learner import DrivingLearner

DIVERGED: Final = "diverged"
"""Key of a result that ends its trial: the text says in which iteration, and which value."""
_CHECKED = ("total_loss", "policy_loss", "vf_loss", "entropy", "mean_kl_loss")


def find_divergence(algorithm: Algorithm, result: Mapping[str, Any], iteration: int) -> str | None:
    """Describe the first value that is not finite after an update.

    Args:
        algorithm: Has just trained.
        result: What the iteration gave.
        iteration: Its number, from 1 on.

    Returns:
        The iteration and the value as a sentence for people, or None where all values are finite.
    """
    learned = result.get(LEARNER_RESULTS, {}).get(DEFAULT_MODULE_ID, {})
    for name in _CHECKED:
        value = float(learned.get(name, 0.0))
        if not math.isfinite(value):
            return f"training diverged in iteration {iteration}: {name} is {value}"
    for weight in algorithm.learner_group.foreach_learner(DrivingLearner.non_finite_weight):
        if weight.ok and (name := weight.get()):
            return (
                f"training diverged in iteration {iteration}: "
                f"the weights {name} are not finite numbers"
            )
    return None
