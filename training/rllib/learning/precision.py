"""Which number format the learner computes gradients in: 32-bit floats, or bfloat16 where faster.

Weights, optimizer and what is published are 32-bit floats either way.
"""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
from ray.rllib.core.columns import Columns

from training.policy.network import Precision, PrecisionOption

_ROUNDS = 4
_MARGIN = 0.95
"""bfloat16 has to be at least this much faster to be chosen."""


def choose_precision(module: Any, option: PrecisionOption, minibatch_size: int) -> Precision:
    """The format that an option names; for ``auto`` the faster one, tried on this machine.

    Processors without bfloat16 instructions take ten times as long with it, those with them half
    as long. A T4 has none either.

    Args:
        module: The module that will be trained; it is left as it is.
        option: What was asked for.
        minibatch_size: Observations of one optimizer step.
    """
    if option != "auto":
        return option
    device = next(module.parameters()).device
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    tried = copy.deepcopy(module)
    shape = (minibatch_size, *module.description.pipeline.observation_shape)
    batch = {Columns.OBS: torch.zeros(shape, dtype=torch.uint8)}
    seconds: dict[Precision, float] = {"fp32": float("inf"), "bf16": float("inf")}
    for _ in range(_ROUNDS):
        for precision, best in seconds.items():
            tried.precision = precision
            seconds[precision] = min(best, _seconds(tried, batch))
    return "bf16" if seconds["bf16"] < _MARGIN * seconds["fp32"] else "fp32"


def _seconds(module: Any, batch: dict[str, torch.Tensor]) -> float:
    """Wall time of one forward and backward pass."""
    start = time.perf_counter()
    outputs = module.forward_train(batch)
    values = module.compute_values(batch, outputs.get(Columns.EMBEDDINGS))
    (outputs[Columns.ACTION_DIST_INPUTS].sum() + values.sum()).backward()
    return time.perf_counter() - start
