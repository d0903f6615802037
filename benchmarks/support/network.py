"""Time of the policy's network alone, on one core."""

from __future__ import annotations

import time

import numpy as np
import torch

from app.policies.loading import load_bundled


def forward_ms(batch: int, seconds: float) -> float:
    """Milliseconds of processor time in which the bundled policy decides on so many at once."""
    torch.set_num_threads(1)
    policy = load_bundled()
    shape = (batch, *policy.observation_shape)
    observations = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    policy.act(observations)
    begin, end, times = time.process_time(), time.perf_counter() + seconds, 0
    while times == 0 or time.perf_counter() < end:
        policy.act(observations)
        times += 1
    return 1000 * (time.process_time() - begin) / times
