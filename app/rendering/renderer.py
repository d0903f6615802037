"""What the API asks of whoever makes films and curves, and how that can fail."""

from __future__ import annotations

from typing import Literal, Protocol

from app.policies.bundled import Source
from app.rendering.film_order import FilmOrder
from app.rendering.films import BusyError, FilmPolicyError
from training.policy.acting import Policy

CurveEncoding = Literal["png", "svg", "json"]


class NoCurveError(Exception):
    """A run has no training curve; the message says why."""


RenderFailure = BusyError | FilmPolicyError | NoCurveError | OSError
RENDER_FAILURES = (BusyError, FilmPolicyError, NoCurveError, OSError)
"""What may go wrong without anyone having made a mistake."""


class Renderer(Protocol):
    """Makes films and curves without holding up the caller's event loop."""

    async def film(self, order: FilmOrder, policy: Policy | None = None) -> bytes:
        """The film as a file.

        Args:
            order: What to show.
            policy: Its policy, where the caller has it: storage may be away then.

        Raises:
            BusyError: Too many films are waiting.
            FilmPolicyError: The order's policy is not where it was any more.
            OSError: Storage is away.
        """
        ...

    async def curve(
        self,
        run: str,
        trial: str,
        encoding: CurveEncoding,
        finetune_at: int | None,
        source: Source = "storage",
    ) -> bytes:
        """A trial's training curve as a file.

        Raises:
            NoCurveError: The run has no table of progress, or none that can be read.
            BusyError: Too many requests are waiting.
            OSError: Storage is away.
        """
        ...
