"""What a client of the service raises where it is refused, and when it is worth asking again."""

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
        """HTTP status, or the code from 1000 on that a WebSocket was closed with."""
        self.title = title
        self.detail = detail
        """What is wrong, and what would be right."""
        self.retry_after_s = retry_after_s
        """The least seconds until it is worth asking again; None if it never is."""


def refusal(response: httpx.Response) -> ServiceError:
    """The error of an HTTP answer, a problem or what a proxy on the way makes of one."""
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
    """The error of an HTTP answer to who asked for a WebSocket."""
    answer = error.response
    headers = list(answer.headers.raw_items())
    return refusal(
        httpx.Response(answer.status_code, headers=headers, content=bytes(answer.body or b""))
    )


def closed(error: ConnectionClosed) -> ServiceError | ConnectionError:
    """The error of a WebSocket that the service has closed, or nobody has."""
    if error.rcvd is None:
        return ConnectionError(f"the connection was lost: {error}")
    return ServiceError(
        error.rcvd.code,
        "the drive was ended",
        error.rcvd.reason,
        retry_after_s=PAUSE_S if error.rcvd.code in _CLOSED_FOR_NOW else None,
    )


def too_late(url: httpx.URL, limit_s: float) -> TimeoutError:
    """The error of an answer that did not come."""
    return TimeoutError(f"{url} did not answer within {limit_s:.3g} s")


def unreachable(url: httpx.URL, reason: Exception) -> ConnectionError:
    """The error of a service that is not there, or not any more."""
    return ConnectionError(f"{url} cannot be reached: {reason}")
