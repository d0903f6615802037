from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.service.overload import Options, Round, flood, kinds
from benchmarks.support.load import Answer
from benchmarks.support.running import Running
from tests.benchmarks.serving import serving

PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 0"
LATER = PLAIN + b"\r\nRetry-After: 2"


def answer(status: int, head: bytes = PLAIN, seconds: float = 0.5) -> Answer:
    return Answer(status, b"", 1.0, 1.0 + seconds, head)


def test_answers_are_told_apart() -> None:
    found = Round()
    found.note("act", answer(200))
    found.note("film", answer(503, LATER))
    found.note("film", answer(429, LATER))
    for fault in (answer(503), answer(500, LATER), answer(404), answer(0, b"")):
        found.note("curve", fault)
    assert found.answered == {"act": [0.5]}
    assert found.refused == {"film": 2}
    assert found.failed == {("curve", status): 1 for status in (503, 500, 404, 0)}


def test_seconds_are_those_of_answers() -> None:
    found = Round()
    for number in range(101):
        found.note("act", answer(200, seconds=number))
    found.note("act", answer(503, LATER, seconds=1000))
    assert found.seconds("act") == "50.00 / 99.00"
    assert found.seconds("film") == "nan / nan"


def test_a_round_of_nothing_is_refused() -> None:
    for options in ({"clients": (0,)}, {"clients": ()}, {"seconds": 0.0}):
        with pytest.raises(ValueError, match="must be above 0"):
            Options(**options)


def test_each_kind_has_clients_as_it_has_places() -> None:
    places = Counter(kinds(192))
    assert places == {"act": 64, "film": 17, "curve": 111}
    assert Counter(kinds(1920)) == {kind: 10 * number for kind, number in places.items()}
    assert Counter(kinds(19)) == {"act": 6, "film": 2, "curve": 11}
    assert len(kinds(1)) == 1


def test_a_round_says_what_was_answered_and_what_it_cost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def answer(head: bytes) -> bytes:
        path = head.split()[1]
        if path.startswith(b"/gif/"):
            return LATER.replace(b"200 OK", b"503 Busy") + b"\r\n\r\n"
        return PLAIN.replace(b"200", b"500" if path.startswith(b"/curve") else b"200") + b"\r\n\r\n"

    async def run() -> None:
        async with serving(answer) as port:
            await flood(Running(os.getpid(), port, Path()), Options(clients=(19,), seconds=0.2))

    asyncio.run(run())
    head, _, row = capsys.readouterr().out.splitlines()[-3:]
    cells = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    assert cells["200"].endswith(" × act")
    assert cells["503 or 429 with Retry-After"].endswith(" × film")
    assert cells["other"].endswith(" × curve 500")
    healthy, _, probes = cells["health 200"].partition(" of ")
    assert healthy == probes
    assert float(cells["own, ms"]) > 0
