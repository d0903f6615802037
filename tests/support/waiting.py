"""Waiting on a machine that may be busy: one limit, far above what anything takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

PATIENCE_S: Final = 900.0
"""How long a test waits for something that has to happen. It only passes where a test fails."""
_POLL_S: Final = 0.02


def wait_until(holds: Callable[[], object]) -> None:
    """Poll until something holds; fails the test if it does not."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"it did not happen within {PATIENCE_S:g} s"
        time.sleep(_POLL_S)
