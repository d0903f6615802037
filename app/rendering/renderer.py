"""The interface of a renderer of films and training curves, and its errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from app.errors import (
    CurveNotFoundError,
    OverloadedError,
    PolicyNotFoundError,
    StorageUnavailableError,
)
from app.policies.names import Source
from app.rendering.film_order import FilmOrder

if TYPE_CHECKING:
    from training.policy.published import PublishedPolicy

CurveEncoding = Literal["png", "svg", "json"]


@dataclass(frozen=True)
class CurveOrder:
    """All parameters of a training curve."""

    run: str
    trial: str
    encoding: CurveEncoding
    finetune_at: int | None = None
    """The iteration at which to mark the change of phase; None for the one in the table."""
    source: Source = "storage"
    """Where the run's progress table comes from."""


RenderError = OverloadedError | PolicyNotFoundError | CurveNotFoundError | StorageUnavailableError
RENDER_ERRORS = (
    OverloadedError,
    PolicyNotFoundError,
    CurveNotFoundError,
    StorageUnavailableError,
)
"""Errors of a renderer that are not bugs."""


class Renderer(Protocol):
    """Renders films and curves off the caller's event loop."""

    async def film(self, order: FilmOrder, files: PublishedPolicy | None = None) -> bytes:
        """Return a film as a file.

        Args:
            order: What to show.
            files: The files of its policy, if the caller has them, in case storage cannot be read.

        Raises:
            OverloadedError: Too many films are waiting.
            PolicyNotFoundError: The order's policy is missing or broken.
            StorageUnavailableError: Storage cannot be read.
        """
        ...

    async def curve(self, order: CurveOrder) -> bytes:
        """Return a trial's training curve as a file.

        Raises:
            CurveNotFoundError: The run has no progress table, or an unreadable one.
            OverloadedError: Too many requests are waiting.
            StorageUnavailableError: Storage cannot be read.
        """
        ...
