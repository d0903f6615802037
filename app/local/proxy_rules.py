"""What HAProxy answers itself, and when, as lines of its configuration.

Each answer is a problem, as those of the application are (:mod:`app.problems`); only to what it
cannot read as a request, or what does not arrive, it answers 400 or 408 in words of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.limits import HEALTH, QUERY, RETRY_S, other_requests
from app.middleware.headers import EVERYWHERE, PLAIN_ID, REQUEST_ID
from app.problems import PROBLEM_JSON, TITLES

HEAD_BYTES: Final = 64 * 1024
"""Longest head of a request that HAProxy takes in: what app.middleware.heads takes, and as much
again, so that its refusals say what is too long."""

_TIMES: Final = (
    # A request is not passed on, nor counted, before its body is here or a buffer full of it. So a
    # client that sends nothing takes no place of others.
    "option http-buffer-request",
    # Of the head and that much of the body. The rest is bounded where it is read.
    "timeout http-request 15s",
    "timeout connect 5s",
    # Who neither sends the rest of a body nor reads an answer holds the place of another.
    "timeout client 30s",
    # Idle ones are of no use, and there may be only so many.
    "timeout http-keep-alive 10s",
    # Of drives. They have pings of their own.
    "timeout tunnel 1h",
)
_BUSY: Final = f'"type":"urn:carracing:busy","title":"{TITLES["busy"]}","status":503'
_LATER: Final = {"Retry-After": str(RETRY_S)}
_HUNG_UP: Final = "its sender has hung up before it was answered"
_ENDED: Final = "the process that worked on this has ended or hangs; another takes its place"
_NONE_READY: Final = "no replica is ready"
_FRONTEND: Final = (
    # Of the request, for what is answered after it has been passed on.
    "http-request set-var(txn.path) path,bytes(0,128),url_dec",
    # The whole header, and the only one of its name.
    f"http-request set-header {REQUEST_ID} %[uuid] unless "
    f"{{ req.fhdr_cnt({REQUEST_ID}) eq 1 }} {{ req.fhdr({REQUEST_ID}) -m reg ^{PLAIN_ID}$ }}",
    f"http-request set-var(txn.id) req.fhdr({REQUEST_ID})",
    # Who asks again gets an answer: for a caller these are all the same.
    "http-after-response set-status 503 if { status 502 504 }",
)


@dataclass(frozen=True)
class Rules:
    """Lines that :mod:`app.local.haproxy` puts into the configuration that Serve writes."""

    defaults: tuple[str, ...]
    """For every section: the answers to what goes wrong."""
    frontend: tuple[str, ...]
    """Where requests come in, before any is passed on."""
    probes: str
    """Where the paths begin of requests that are always let in."""
    query: str
    """The path of queries."""
    queries: int
    """Queries that may be with one replica; more are refused."""
    others: int
    """Other requests that may be with one replica, probes not counted."""
    drives: str
    """The path of drives. They are not counted here: the application closes a WebSocket with a code
    that scripts see, and no more of them stay open than it takes."""
    refusal: str
    """The rule that refuses one, without its condition."""
    nowhere: str
    """The rule that answers as long as Serve names no replica."""


def make_rules(queries: int) -> Rules:
    """The rules of this service.

    HAProxy refuses for a fiftieth of what it costs a replica, so that a crowd that is turned away
    does not keep a replica from those that are let in, nor from probes.

    Args:
        queries: Queries that are let in at once (CARRACING_ACT_PENDING).
    """
    again = _titled("Service Unavailable", 503)
    detail = "as many such requests as there is room for are under way already"
    return Rules(
        defaults=(
            *_TIMES,
            _error(400, _titled("Bad Request", 400), _HUNG_UP),
            _error(500, _titled("Internal Server Error", 500), "something failed in HAProxy"),
            _error(502, again, _ENDED, _LATER),
            _error(503, again, _NONE_READY, _LATER),
            _error(504, again, _ENDED, _LATER),
        ),
        frontend=_FRONTEND,
        probes=HEALTH,
        query=QUERY,
        queries=queries,
        others=other_requests(queries),
        drives="/drive",
        refusal=f"http-request return {_answer(503, _BUSY, detail, _LATER)}",
        nowhere=f"http-request return {_answer(503, again, _NONE_READY, _LATER)}",
    )


def _titled(title: str, status: int) -> str:
    return f'"type":"about:blank","title":"{title}","status":{status}'


def _error(status: int, start: str, detail: str, headers: Mapping[str, str] | None = None) -> str:
    """The line that says how HAProxy answers where it would answer this status."""
    return f"http-error {_answer(status, start, detail, headers or {})}"


def _answer(status: int, start: str, detail: str, headers: Mapping[str, str]) -> str:
    # json() quotes what a caller's path may hold. In quotes of this kind nothing else is read.
    body = f'{{{start},"detail":"{detail}","instance":"%[var(txn.path),json(utf8s)]"}}'
    named = {"Cache-Control": "no-store", REQUEST_ID: "%[var(txn.id)]", **EVERYWHERE, **headers}
    more = " ".join(f"hdr {name} {_quoted(value)}" for name, value in named.items())
    return f"status {status} content-type {PROBLEM_JSON} lf-string {_quoted(body)} {more}"


def _quoted(value: str) -> str:
    """A value in HAProxy's strong quotes, which hold any character but themselves."""
    return "'" + value.replace("'", r"'\''") + "'"
