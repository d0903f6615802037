"""Judges of an attack: do they see what is wrong?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI

from app.problems import PROBLEM_JSON, ProblemApi, problem_response, problems
from benchmarks.attacks.documented import Answer, Documented
from benchmarks.attacks.generated import generated
from benchmarks.attacks.malice import Malice
from benchmarks.attacks.tally import Tally
from benchmarks.attacks.wire import NoAnswerError, line, wire

pytestmark = pytest.mark.anyio

BUSY = {"content-type": PROBLEM_JSON, "retry-after": "2"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def api() -> FastAPI:
    api = ProblemApi()

    @api.get("/films/{seed}.gif", responses=problems(422, 503))
    async def film(seed: int) -> int:
        return seed

    return api


def problem(status: int, headers: Mapping[str, str] = BUSY) -> Answer:
    return Answer(status, headers, bytes(problem_response("/films/1.gif", status, "why").body))


@pytest.mark.parametrize(
    ("method", "path", "answer", "words"),
    [
        ("GET", "/films/1.gif", Answer(200, {}, b"1"), ""),
        ("HEAD", "/films/1.gif", Answer(200, {}, b""), ""),
        ("GET", "/films/1.gif", Answer(304, {}, b""), "not documented"),
        ("GET", "/films/1.gif", problem(503), ""),
        ("GET", "/films/1.gif", problem(503, {"content-type": PROBLEM_JSON}), "Retry-After"),
        ("GET", "/films/1.gif", problem(502), "status 502"),
        ("GET", "/films/1.gif", problem(500), "status 500"),
        ("GET", "/films/1.gif", problem(404), "not documented"),
        ("GET", "/films/1.gif", problem(422, {"content-type": "text/plain"}), "text/plain"),
        ("GET", "/films/1.gif", problem(422, {}), "none"),
        ("GET", "/films/1.gif", Answer(422, BUSY, b"{}"), "not a problem"),
        ("GET", "/films/1.gif", Answer(422, BUSY, problem(503).body), "another status"),
        ("HEAD", "/films/1.gif", Answer(422, BUSY, b""), ""),
        ("POST", "/films/1.gif", problem(405), ""),
        ("POST", "/films/1.gif", Answer(200, {}, b""), "not documented"),
        ("GET", "/films/1/2.gif", problem(404), ""),
        ("GET", "/filmsx1.gif", Answer(200, {}, b""), "not documented"),
        ("GET", "/page/page.js", Answer(200, {}, b""), ""),
    ],
)
def test_answers_are_held_against_the_document(
    api: FastAPI, method: str, path: str, answer: Answer, words: str
) -> None:
    fault = Documented(api.openapi()).fault(method, path, answer)
    assert words in fault
    assert bool(words) == bool(fault)


def test_schemathesis_sees_what_departs_from_the_document(api: FastAPI) -> None:
    made = list(generated(api.openapi(), "http://car.test", 3, 0))
    assert {each.request.method for each in made} == {"GET"}
    again = list(generated(api.openapi(), "http://car.test", 3, 0))
    assert [each.request.url for each in made] == [each.request.url for each in again]
    teapot, text = httpx.Response(418), httpx.Response(200, json="a")
    for answer, words in ((teapot, "Received: 418"), (text, '"a" is not of type "integer"')):
        answer.request = made[0].request
        answer.elapsed = timedelta()
        assert words in made[0].fault(answer)


async def answered(content: bytes, request: Malice) -> tuple[bytes, list[Answer]]:
    """What a server hears that says this, and the answers that are read from it."""
    heard = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set_result(await reader.readuntil(b"end"))
        writer.write(content)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, line(server.sockets[0].getsockname()[1]) as connection:
        connection.send(wire(request))
        answers: list[Answer] = []

        async def read() -> None:
            while True:
                answers.append(await connection.answer(request.method))

        with pytest.raises(NoAnswerError) as caught:
            await read()
        assert caught.value.closed
        return await heard, answers


@pytest.mark.parametrize("content", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal"])
async def test_a_connection_that_ends_is_no_answer(content: bytes) -> None:
    assert (await answered(content, Malice("kind", "POST", "/", frozenset(), (), b"end")))[1] == []


async def test_answers_are_read_as_they_come() -> None:
    request = Malice("kind", "POST", "/a?b", frozenset(), (("X", "\xff"),), b"end")
    plain = b"HTTP/1.1 404 Not Found\r\nX-Some: \xff\r\nContent-Length: 2\r\n\r\nno"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\n"
    heard, answers = await answered(plain + chunked, request)
    assert heard == (
        b"POST /a?b HTTP/1.1\r\nHost: 127.0.0.1\r\nX: \xff\r\nConnection: close\r\n"
        b"Content-Length: 3\r\n\r\nend"
    )
    assert [(answer.status, answer.body) for answer in answers] == [(404, b"no"), (200, b"yes")]
    assert answers[0].headers["x-some"] == "\xff"


def test_what_was_wrong_is_counted_by_kind() -> None:
    tally = Tally()
    for fault in ("", "bad", "bad", "worse"):
        tally.note("films", "500" if fault else "200", fault)
    assert "| films | 4 | 200 × 1, 500 × 3 | 3 |" in tally.table()
    assert tally.table().endswith("| all | 4 | | 3 |")
    assert tally.violations() == "2 × films: bad\n1 × films: worse"
    assert tally.faulty
    assert not Tally().faulty
