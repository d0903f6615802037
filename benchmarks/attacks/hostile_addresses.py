"""Hostile URLs, headers and methods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from benchmarks.attacks.hostile_bodies import SHAPE, npy
from benchmarks.attacks.malice import NPY, Malice

_NUMBERS: Final = (
    *("-1", "2147483648", "9" * 19, "9" * 5000, "1e5", "0x10", "1.5", "nan", "inf", "", "one"),
    *("%00", "%ff", "%ed%a0%80", "%D9%A3", "1%0d%0aX:%20y", "1;2", "true", "[1]", "1%002"),
)
_SMALL: Final = "max_steps=5&width=30"
"""The options of a film that is soon rendered."""


def hostile_addresses(version: str) -> Iterator[Malice]:
    """All of them; the version is that of a policy that there is."""
    film = f"/gif/{version}/0.gif"
    yield from _numbers(film)
    yield from _queries(version, film)
    yield from _policies()
    yield from _paths()
    yield from _heads(film)
    yield from _conditions(f"{film}?{_SMALL}")
    yield from _methods(film)


def _get(kind: str, target: str, *statuses: int) -> Malice:
    return Malice(kind, "GET", target, frozenset(statuses))


def _numbers(film: str) -> Iterator[Malice]:
    kind = "numbers in queries"
    query = npy(np.zeros(SHAPE, np.uint8))
    for number in _NUMBERS:
        for path in ("/gif", "/webp"):
            yield _get(kind, f"{path}?seed={number}", 422)
        for name in ("episodes", "max_steps", "fps", "width"):
            yield _get(kind, f"{film}?{name}={number}", 422)
        yield _get(kind, f"/policies?limit={number}", 422)
        yield _get(kind, f"/curve.json?finetune_at={number}", 422)
        yield Malice(kind, "POST", f"/act?seed={number}", frozenset({422}), NPY, query)


def _queries(version: str, film: str) -> Iterator[Malice]:
    kind = "queries"
    for query in ("episodes=10000", "max_steps=1001", "fps=51", "width=601", "%ff=1", "a&b", "=1"):
        yield _get(kind, f"{film}?{query}", 422)
    yield _get(kind, f"{film}?" + "&".join(f"{number}=1" for number in range(1000)), 422)
    yield _get(kind, "/gif?seed=1&seed=2", 307)
    # The last of these episodes is driven on a track beyond the largest seed.
    yield _get(kind, f"/gif/{version}/2147483647.gif?episodes=5&{_SMALL}", 200)


def _policies() -> Iterator[Malice]:
    kind = "unknown policies"
    for name in (
        *("absent", "%2e%2e", "..%2f..%2fetc", "%00", "%ff", "%ed%a0%80", "%", "*", "~"),
        *("a%0d%0aX:%20y", "a" * 4000, "%F0%9F%9A%97", "-rf", "'%20or%201=1--", "%7b%7d"),
    ):
        yield _get(kind, f"/gif/{name}/0.gif", 404)
    for seed in ("-1", "2147483648", "9" * 5000, "one", "1_0", "+1", "%00"):
        yield _get(kind, f"/gif/absent/{seed}.webp", 422)


def _paths() -> Iterator[Malice]:
    for path in (
        *("/..", "/../../../../etc/passwd", "/gif/../gif", "/policies/..", "/.git/config", "/.env"),
        *("/page/../../README.md", "/page/..%2f..%2fREADME.md", "/page/%2e%2e/%2e%2e/README.md"),
        *("/page/....//page.js", "/page/page.js%00.png", "/page/%2fetc%2fpasswd", "/page/"),
        *("/page//page.js", "/page/c:%5cboot.ini", "//", "//evil.example/gif", "/gif/", "/act/"),
        *("/%", "/%00", "/%ff", "/%0d%0aX:%20y", "/a%3Fb", "/;", "/*", "/" + "a/" * 2000),
        *("/drive", "/-/nothing"),
    ):
        yield _get("paths", path, 404)


def _heads(film: str) -> Iterator[Malice]:
    yield _get("long heads", "/" + "a" * 9000, 414)
    # What is longer than 64 KiB is no HTTP to the server below.
    for query in ("a" * 60_000, "a=1&" * 15_000, "&" * 60_000, "%ff" * 20_000):
        yield _get("long heads", f"/gif?{query}", 414)
        yield _get("long heads", f"{film}?{query}", 414)
    for headers in ((("X", "a" * 50_000),), tuple((f"X-{n}", "a" * 500) for n in range(90))):
        yield Malice("long heads", "GET", "/policy", frozenset({431}), headers)


def _conditions(film: str) -> Iterator[Malice]:
    kind, answers = "ranges and tags", frozenset({200, 304})
    for value in (
        *("bytes=0-", "bytes=-0", "bytes=9999999-", "bytes=0-" + "9" * 5000, "bytes=--1", "\xff"),
        *("bytes=0-0," * 1000, "bytes=1-0", "lines=1-2", "bytes=\xb2-", ""),
    ):
        for method in ("GET", "HEAD"):
            yield Malice(kind, method, film, answers, (("Range", value),))
    for value in ("*", "\xff", '"' * 10_000, "W/" * 5000, 'W/"' * 5000, '"a", ' * 5000, ""):
        yield Malice(kind, "GET", film, answers, (("If-None-Match", value),))
        yield Malice(kind, "GET", film, answers, (("If-Range", value), ("Range", "bytes=0-0")))
    for host in ("evil.example", "127.0.0.1:1", "[::1]:80", "x" * 5000):
        yield Malice("hosts", "GET", "/nothing", frozenset({404}), (("Host", host),))


def _methods(film: str) -> Iterator[Malice]:
    refused = frozenset({405})
    paths = ("/", film, "/gif", "/webp", "/curve.png", "/curve.json", "/policy", "/policies")
    for path in (*paths, "/health/live", "/openapi.json", "/page/page.js"):
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            yield Malice("methods", method, path, refused)
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
        yield Malice("methods", method, "/act", refused)
