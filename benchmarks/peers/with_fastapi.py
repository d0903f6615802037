"""FastAPI and uvicorn alone.

    python -m benchmarks.peers.with_fastapi PORT

It validates nothing: its cost is a lower bound for HTTP and this policy. It runs in FastAPI's
default thread pool, on at most 40 observations at once.
"""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool

from app.policies.loading import load_bundled


def build() -> FastAPI:
    """The application."""
    torch.set_num_threads(1)
    policy = load_bundled()
    api = FastAPI()

    def decide(body: bytes) -> list[float]:
        actions: list[float] = policy.act(np.load(io.BytesIO(body))[None])[0].tolist()
        return actions

    @api.post("/act")
    async def act(request: Request) -> dict[str, Any]:
        return {"action": await run_in_threadpool(decide, await request.body())}

    return api


if __name__ == "__main__":
    uvicorn.run(build(), port=int(sys.argv[1]), log_level="warning")
