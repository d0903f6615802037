"""Retries of the client: exponential backoff with jitter, and Retry-After."""

from __future__ import annotations

from collections.abc import Mapping
from random import uniform
from typing import Final

ATTEMPTS: Final = 26
"""Attempts per request. The pauses take a minute and a half in total: a busy machine may need that
long to replace a dead process."""
PAUSE_S: Final = 1.0
"""Pause after a refusal without Retry-After."""

_FIRST_S: Final = 0.1
_LONGEST_S: Final = 4.0
_SPREAD: Final = 1.25
_NOT_NOW: Final = (429, 503)
_BROKEN: Final = (404, 500, 502)
_PROBLEM: Final = "application/problem+json"


def pause_s(failed: int, least_s: float = 0.0) -> float:
    """Return the seconds before the next attempt.

    Args:
        failed: Number of failed attempts, 1 or more.
        least_s: Minimum that the service asked for.
    """
    grown = min(_FIRST_S * 2.0 ** (failed - 1), _LONGEST_S)
    return max(least_s, grown) * uniform(1.0, _SPREAD)  # noqa: S311


def least_pause_s(status: int, headers: Mapping[str, str]) -> float | None:
    """Return the minimum seconds before a retry of a response; None if a retry is useless.

    Args:
        status: Its HTTP status.
        headers: Its headers, by names in lower case, or in any case.
    """
    if status in _NOT_NOW:
        given = headers.get("retry-after", "")
        return float(given) if given.isdecimal() else PAUSE_S
    # The service's own errors are problems. These come from the proxy: a replica has died with the
    # request, or a new HAProxy does not know the application yet.
    if status in _BROKEN and not headers.get("content-type", "").startswith(_PROBLEM):
        return 0.0
    return None
