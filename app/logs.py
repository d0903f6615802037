"""Where the project's own log lines go."""

from __future__ import annotations

import logging

_OURS = ("app", "training")
_SERVE = "ray.serve"


def route_logs(level: str) -> None:
    """Let this process's project loggers write where and how Ray Serve's own logger does."""
    for name in _OURS:
        logger = logging.getLogger(name)
        logger.setLevel(level)
        if serve_handlers := logging.getLogger(_SERVE).handlers:
            logger.handlers = list(serve_handlers)
            logger.propagate = False
