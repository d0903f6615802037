"""What HAProxy answers itself, and when, as lines of its configuration.

Each answer is a problem, as those of the application are (:mod:`app.problems`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.headers import EVERYWHERE, REQUEST_ID
from app.limits import HEALTH, PROBES, REPLICA_REQUESTS
from app.problems import PROBLEM_JSON, TITLES

HEAD_BYTES: Final = 64 * 1024
"""Longest head of a request that HAProxy takes in: what app.heads takes, and as much again, so that
its refusals say what is too long."""

_HEAD_S: Final = 15
"""Seconds for the head of a request to arrive."""
_PLAIN_ID: Final = "^[A-Za-z0-9._:-]{1,128}$"
"""As in :mod:`app.front`."""
_BUSY: Final = f'"type":"urn:carracing:busy","title":"{TITLES["busy"]}","status":503'
_LATER: Final = {"Retry-After": "2"}
_UNREADABLE: Final = (
    "this cannot be read as a request of HTTP: a line of it breaks the rules, its head is longer "
    f"than {HEAD_BYTES // 1024} KiB, or its sender has hung up"
)
_SLOW: Final = f"the head of the request did not arrive within {_HEAD_S} s"
_ENDED: Final = "the process that worked on this has ended or hangs; another takes its place"
_FRONTEND: Final = (
    # Of the request, for what is answered after it has been passed on.
    "http-request set-var(txn.path) path,url_dec",
    f"http-request set-header {REQUEST_ID} %[uuid] "
    f"unless {{ req.hdr({REQUEST_ID}) -m reg {_PLAIN_ID} }}",
    f"http-request set-var(txn.id) req.hdr({REQUEST_ID})",
    # Who asks again gets an answer: for a caller these are all the same.
    "http-after-response set-status 503 if { status 502 504 }",
)


@dataclass(frozen=True)
class Rules:
    """Lines that :mod:`app.haproxy` puts into the configuration that Serve writes."""

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
    refusal: str
    """The rule that refuses one, without its condition."""


def make_rules(queries: int) -> Rules:
    """The rules of this service.

    HAProxy refuses for a fiftieth of what it costs a replica, so that a crowd that is turned away
    does not keep a replica from those that are let in, nor from probes.

    Args:
        queries: Queries that are let in at once (CARRACING_ACT_PENDING).
    """
    others = REPLICA_REQUESTS - PROBES - queries
    again = _titled("Service Unavailable", 503)
    detail = "as many such requests as there is room for are under way already"
    return Rules(
        defaults=(
            # Only of the head: a body's time is bounded where it is read.
            f"timeout http-request {_HEAD_S}s",
            "timeout connect 5s",
            _error(400, _titled("Bad Request", 400), _UNREADABLE),
            _error(408, _titled("Request Timeout", 408), _SLOW),
            _error(500, _titled("Internal Server Error", 500), "something failed in HAProxy"),
            _error(502, again, _ENDED, _LATER),
            _error(503, again, "no replica is ready", _LATER),
            _error(504, again, _ENDED, _LATER),
        ),
        frontend=_FRONTEND,
        probes=HEALTH,
        query="/act",
        queries=queries,
        others=others,
        refusal=f"http-request return {_answer(503, _BUSY, detail, _LATER)}",
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
