"""The retry policy for storage: exponential backoff for a limited time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")

STORAGE_PATIENCE_S = 600.0
"""Seconds that training tolerates failing storage before it ends with an error."""

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_DOUBLINGS = 5
"""After these the pause no longer grows."""


def pause_before(attempt: int) -> float:
    """Seconds to wait before retry number ``attempt``, counted from 1."""
    return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(attempt - 1, _DOUBLINGS))


def retry(
    action: Callable[[], T],
    what: str,
    *,
    timeout_s: float = STORAGE_PATIENCE_S,
    errors: tuple[type[Exception], ...] = (OSError,),
) -> T:
    """Call an idempotent function, and repeat it with growing pauses while it raises an error.

    Args:
        action: The function.
        what: What it does, for the log: "reading x".
        timeout_s: No retry starts later than this many seconds after the first call.
        errors: The errors to retry after. FileNotFoundError is an OSError too: an action for which
            a missing file is normal must catch it.

    Returns:
        What the function returns.

    Raises:
        Exception: The last error, once the time is over; any error of another type at once.
    """
    deadline = time.monotonic() + timeout_s
    attempt = 0
    while True:
        try:
            return action()
        except errors as error:
            attempt += 1
            pause = pause_before(attempt)
            if time.monotonic() + pause > deadline:
                raise
            logger.warning("%s failed, next try in %.0f s: %s", what, pause, error)
            time.sleep(pause)
