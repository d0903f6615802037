"""Routing of the project's log lines."""

from __future__ import annotations

import logging

_OURS = ("app", "training")
_SERVE = "ray.serve"


def route_logs(level: str) -> None:
    """Send the log lines of this project's loggers to the handlers of Ray Serve's logger."""
    for name in _OURS:
        logger = logging.getLogger(name)
        logger.setLevel(level)
        if serve_handlers := logging.getLogger(_SERVE).handlers:
            logger.handlers = list(serve_handlers)
            logger.propagate = False
