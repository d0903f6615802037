"""Results of iterations, as a trial reports them to Tune."""

from __future__ import annotations

from typing import Any


def result(iteration: int, **fields: Any) -> dict[str, Any]:
    return {
        "training_iteration": iteration,
        "phase": "explore",
        "num_env_steps_sampled_lifetime": 1000 * iteration,
        "return_min": -10.0,
        "return_mean": 20.0 + iteration,
        "return_max": 90.0,
        "lr": 2e-4,
        "entropy_coeff": 0.037,
        "clip_param": 0.2,
        "time_total_s": 50.0 * iteration,
        "time_this_iter_s": 50.0,
    } | fields
