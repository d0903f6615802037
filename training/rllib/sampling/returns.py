"""What is reported of sampled episodes: the simulator's own returns, unshaped and unscaled."""

from __future__ import annotations

import math
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS


class ReportReturns(RLlibCallback):  # type: ignore[misc]
    """Adds ``return_min``, ``return_mean`` and ``return_max`` to every result."""

    def on_train_result(self, *, algorithm: Algorithm, result: dict[str, Any], **_: Any) -> None:
        """Lift the three to the top of the result."""
        del algorithm
        returns = result.get(ENV_RUNNER_RESULTS, {})
        for kind in ("min", "mean", "max"):
            # Also before an episode has ended: Tune's CSV keeps the columns of its first row.
            result[f"return_{kind}"] = float(returns.get(f"return_{kind}", math.nan))
