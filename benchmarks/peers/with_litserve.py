"""LitServe: workers on the CPU, raw bodies, its fast queue.

    python -m benchmarks.peers.with_litserve WORKERS PORT

A worker decides on one observation at a time. There are as many HTTP servers as workers, which is
its default.
"""

# No postponed annotations: LitServe hands decode_request's own annotation to FastAPI.

import io
import sys
from typing import Annotated, Any

import litserve
import numpy as np
import torch
from fastapi import Body

from app.policies.loading import load_bundled


class PolicyApi(litserve.LitAPI):  # type: ignore[misc]
    """The policy, behind LitServe's four steps."""

    def setup(self, device: Any) -> None:  # noqa: ARG002
        """Load it, in the worker's process."""
        torch.set_num_threads(1)
        self._policy = load_bundled()

    def decode_request(
        self, request: Annotated[bytes, Body(media_type="application/x-npy")]
    ) -> Any:
        """A body → an observation."""
        return np.load(io.BytesIO(request))

    def predict(self, observation: Any) -> Any:
        """Decide."""
        return self._policy.act(observation[None])[0]

    def encode_response(self, output: Any) -> dict[str, Any]:
        """An action → JSON."""
        return {"action": output.tolist()}


if __name__ == "__main__":
    workers, port = map(int, sys.argv[1:])
    server = litserve.LitServer(
        PolicyApi(api_path="/act"), accelerator="cpu", workers_per_device=workers, fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=port,
        generate_client_file=False,
        log_level="warning",
    )
