"""What is reported of sampled episodes: the simulator's own returns, unshaped and unscaled."""

from __future__ import annotations

import math
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from training.coaching import SCORE

_WINDOW = 100
"""Episodes that a mean, minimum or maximum is over, at the most and over all env runners."""


class ReportReturns(RLlibCallback):  # type: ignore[misc]
    """Adds ``return_min``, ``return_mean`` and ``return_max`` to every result."""

    def on_episode_end(
        self,
        *,
        episode: SingleAgentEpisode,
        env_runner: Any,
        metrics_logger: MetricsLogger,
        **_: Any,
    ) -> None:
        """Log an episode's return, in its env runner."""
        score = episode.get_infos(-1).get(SCORE)
        if score is None:
            return  # cut for a spin; the drive goes on
        window = max(1, math.ceil(_WINDOW / (env_runner.config.num_env_runners or 1)))
        for kind in ("min", "mean", "max"):
            metrics_logger.log_value(f"return_{kind}", score, reduce=kind, window=window)

    def on_train_result(self, *, algorithm: Algorithm, result: dict[str, Any], **_: Any) -> None:
        """Lift the three to the top of the result."""
        del algorithm
        returns = result.get(ENV_RUNNER_RESULTS, {})
        for kind in ("min", "mean", "max"):
            # Also before an episode has ended: Tune's CSV keeps the columns of its first row.
            result[f"return_{kind}"] = float(returns.get(f"return_{kind}", math.nan))
