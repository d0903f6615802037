from __future__ import annotations

import pytest

from benchmarks.load import Answer
from benchmarks.overload import Options, Round

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
