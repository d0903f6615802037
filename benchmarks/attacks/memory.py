"""The service's memory during an attack, and what requests leave behind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import linear_regression
from typing import NamedTuple

from app.settings import MIB


class Look(NamedTuple):
    """The service's memory at some moment."""

    requests: int
    """How many were over."""
    resident: int
    """Bytes of all processes."""


def left_behind(looks: Sequence[Look], requests: int) -> float:
    """MiB by which memory grew with each 1,000 requests of the second half; NaN of too few looks.

    Args:
        looks: In order, those after the last request included.
        requests: How many there were in all.
    """
    late = [look for look in looks if requests / 2 <= look.requests < requests]
    if len({look.requests for look in late}) < 2:
        return math.nan
    over, sizes = [look.requests for look in late], [look.resident / MIB for look in late]
    return 1000 * linear_regression(over, sizes).slope
