"""Patience with storage that errors: try again, more and more rarely, for a bounded time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")

STORAGE_PATIENCE_S = 600.0
"""How long training bears storage that errors, before it ends with a message."""

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0


def pause_before(attempt: int) -> float:
    """Seconds to wait before the try of that number, counted from 1 for the second one."""
    return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (attempt - 1))


def patiently(
    action: Callable[[], T],
    what: str,
    *,
    for_s: float = STORAGE_PATIENCE_S,
    errors: tuple[type[Exception], ...] = (OSError,),
) -> T:
    """Do something with storage, again and again while it errors.

    Args:
        action: What to do; it must be such that it can be done twice.
        what: What that is, for the log.
        for_s: How long to go on trying.
        errors: What is worth another try.

    Raises:
        Exception: The last error, one of ``errors``, once the time is over; any other at once.
    """
    deadline = time.monotonic() + for_s
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
