"""Errors of the service that are not bugs.

Each is raised where it occurs. :mod:`app.api.errors` converts them to problem responses and
:mod:`app.driving.protocol` to WebSocket close codes. Each takes one message, so that it can be
pickled.
"""

from __future__ import annotations


class StorageUnavailableError(Exception):
    """Storage cannot be read, or does not answer in time."""


class NoPolicyLoadedError(Exception):
    """No policy is loaded yet."""


class PolicyNotFoundError(Exception):
    """No usable policy has the given name; the message says why."""


class CurveNotFoundError(Exception):
    """A run has no training curve; the message says why."""


class OverloadedError(Exception):
    """Too many requests are waiting; the message says for what."""


class RenderTimeoutError(Exception):
    """A film or a curve was not ready in time."""
