"""Limits of one replica that several modules share. This module imports nothing of the project."""

from __future__ import annotations

from typing import Final

MAX_ONGOING_REQUESTS: Final = 256
"""Requests that Serve runs in one replica at once."""
MAX_QUEUED_REQUESTS: Final = 2048
"""Requests that wait in Serve until a replica runs them. Each waits for a moment only, because the
admission control refuses excess requests at once. Above this number Serve returns a plain 503, to
health probes as well, so it is half of the connections that HAProxy accepts."""
HEALTH_REQUESTS: Final = 16
"""How many of the ongoing requests are kept for health probes."""
LISTINGS: Final = 32
"""Requests that may wait for a listing of storage."""
LARGEST_BODIES: Final = 16
"""How many bodies of the largest size fit into the memory for bodies."""
WEBSOCKET_S: Final = 3600
"""Longest life of a WebSocket: Serve's ``request_timeout_s``."""

HEALTH: Final = "/health/"
"""Prefix of the probes' paths."""
INFERENCE: Final = "/v2"
"""Path of the Open Inference Protocol, and prefix of its other paths."""
PROBES: Final = (HEALTH, f"{INFERENCE}{HEALTH}")
"""Prefixes of all probes' paths."""
QUERY: Final = "/act"
"""Path of queries."""
RETRY_AFTER_S: Final = 2
"""``Retry-After`` of a request that is refused because of overload."""


def max_other_requests(queries: int) -> int:
    """How many requests other than queries and probes a replica admits, given its queries."""
    return MAX_ONGOING_REQUESTS - HEALTH_REQUESTS - queries


def is_inference(path: str) -> bool:
    """Whether a path belongs to the Open Inference Protocol."""
    return path == INFERENCE or path.startswith(f"{INFERENCE}/")


def is_query(path: str) -> bool:
    """Whether a POST to this path asks for actions."""
    return path == QUERY or (is_inference(path) and path.endswith("/infer"))
