"""How many requests the service holds at once. It imports nothing: app.local.front reads it too."""

from __future__ import annotations

from typing import Final

REPLICA_REQUESTS: Final = 256
"""In a replica, as Serve is told with ``max_ongoing_requests``."""
REPLICA_CPUS: Final = 0.5
"""What Ray reserves for a replica, so that all start on a laptop."""
RENDERER_CPUS: Final = 0.5
"""What it reserves for the renderer."""
PROBES: Final = 16
"""How many of those nothing that waits may take, so that health is always answered."""
LISTINGS: Final = 32
"""Those that may wait for storage to be listed."""
LARGEST_BODIES: Final = 16
"""Bodies of the largest size that may be held; of smaller ones, as many more."""

HEALTH: Final = "/health/"
"""Where the paths of probes begin."""
QUERY: Final = "/act"
"""The path of queries."""
RETRY_S: Final = 2
"""When who is turned away may come back."""


def other_requests(queries: int) -> int:
    """Requests besides probes and so many queries that a replica holds at once."""
    return REPLICA_REQUESTS - PROBES - queries
