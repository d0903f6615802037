"""The types of hand-made hostile requests."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

Harm = Callable[[int, random.Random], Awaitable[tuple[str, str]]]
"""Given a port, does its harm; what was answered, in a word, and what was wrong, or nothing."""

Headers = tuple[tuple[str, str], ...]

JSON: Final[Headers] = (("Content-Type", "application/json"),)
NPY: Final[Headers] = (("Content-Type", "application/x-npy"),)


@dataclass(frozen=True)
class Malice:
    """One request as it goes over the wire, and what it may be answered."""

    kind: str
    method: str
    target: str
    """Path and query, already encoded."""
    statuses: frozenset[int]
    headers: Headers = ()
    """Names and values, each character a byte. Host and Content-Length are added if missing."""
    body: bytes = b""
