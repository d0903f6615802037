"""BentoML: one worker, raw bodies.

python -m benchmarks.peers.with_bentoml PORT
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import bentoml
import numpy as np
import torch

from app.policies.loading import load_bundled


@bentoml.service(workers=1, threads=2, logging={"access": {"enabled": False}})
class PolicyService:
    """The policy as a BentoML service; threads as ours, and no line for each request either."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._policy = load_bundled()

    # A single argument that is positional only is the body itself.
    @bentoml.api(route="/act")  # type: ignore[untyped-decorator]
    def act(self, observation: bytes, /) -> dict[str, Any]:
        """Decide."""
        return {"action": self._policy.act(np.load(io.BytesIO(observation))[None])[0].tolist()}


if __name__ == "__main__":
    here = "benchmarks.peers.with_bentoml:PolicyService"
    options = ("--host", "127.0.0.1", "--port", sys.argv[1])
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", "serve", here, *options])  # noqa: S606
