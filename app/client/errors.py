"""Errors of the client."""

from __future__ import annotations

import httpx
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.client.retries import PAUSE_S, least_pause_s

_CLOSED_FOR_NOW = (1001, 1012, 1013)


class ServiceError(Exception):
    """The service refused."""

    def __init__(
        self, status: int, title: str, detail: str, *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = status
        """HTTP status, or close code (1000 or more) of a WebSocket."""
        self.title = title
        self.detail = detail
        """What is wrong, and what is accepted."""
        self.retry_after_s = retry_after_s
        """Seconds to wait before a retry; None if a retry is useless."""


def refusal(response: httpx.Response) -> ServiceError:
    """Return the error of an HTTP response: a problem, or a response of a proxy."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": response.text[:200]}
    return ServiceError(
        response.status_code,
        str(problem.get("title", response.reason_phrase)),
        str(problem.get("detail", "")),
        retry_after_s=least_pause_s(response.status_code, response.headers),
    )


def refused_handshake(error: InvalidStatus) -> ServiceError:
    """Return the error of a refused WebSocket handshake."""
    answer = error.response
    headers = list(answer.headers.raw_items())
    return refusal(
        httpx.Response(answer.status_code, headers=headers, content=bytes(answer.body or b""))
    )


def closed(error: ConnectionClosed) -> ServiceError | ConnectionError:
    """Return the error of a closed or lost WebSocket."""
    if error.rcvd is None:
        return ConnectionError(f"the connection was lost: {error}")
    return ServiceError(
        error.rcvd.code,
        "the drive was ended",
        error.rcvd.reason,
        retry_after_s=PAUSE_S if error.rcvd.code in _CLOSED_FOR_NOW else None,
    )


def too_late(url: httpx.URL, limit_s: float) -> TimeoutError:
    """Return the error of a timeout."""
    return TimeoutError(f"{url} did not answer within {limit_s:.3g} s")


def unreachable(url: httpx.URL, reason: Exception) -> ConnectionError:
    """Return the error of a failed connection."""
    return ConnectionError(f"{url} cannot be reached: {reason}")
