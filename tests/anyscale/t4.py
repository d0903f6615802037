"""A T4 that is none: for the processes of a Ray node that was given a GPU that it does not have.

Ray believes the number that a node is started with, and grants the GPU to whom it belongs; only
torch would then look for CUDA. The module stands alone, so that nothing else comes to the node.
"""

from __future__ import annotations

from typing import Any

from ray.runtime_context import RuntimeContext


def compute_on_the_cpu() -> None:
    """Keep from torch, in this process, that Ray granted it a GPU: it takes the CPU."""
    # What Ray's choice of torch's device goes by.
    RuntimeContext.get_accelerator_ids = _nothing


def _nothing(context: RuntimeContext) -> dict[str, list[Any]]:
    return {}
