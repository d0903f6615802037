"""What a part of the control plane answers: operations by method and path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Request:
    """One call of the API."""

    query: Mapping[str, str]
    ids: Mapping[str, str]
    """What stands in the path in place of its ``{names}``."""
    body: Any
    """From JSON; None where there is none."""


@dataclass(frozen=True)
class Listing:
    """An answer that is a list, whose envelope is another."""

    results: list[Any]


Operations = Mapping[tuple[str, str], Callable[[Request], Any]]
"""(method, path, with ``{names}`` in it) → what answers: a model of the SDK's or a ``Listing``."""


class NotFoundError(Exception):
    """There is no such thing; the message names it."""
