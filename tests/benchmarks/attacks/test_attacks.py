"""Judges of an attack: do they see what is wrong?"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from http import HTTPStatus
from itertools import count

import httpx
import pytest
from fastapi import FastAPI
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from app.problems import PROBLEM_JSON, ProblemApi, problem_response, problems
from app.settings import MIB
from benchmarks.attacks.documented import Answer, Documented
from benchmarks.attacks.generated import generated
from benchmarks.attacks.hostile_connections import cut_body, half_closed, pipelined
from benchmarks.attacks.hostile_drives import against_the_protocol, crowd, left, unread
from benchmarks.attacks.malice import Harm, Malice
from benchmarks.attacks.memory import Look, left_behind
from benchmarks.attacks.ordinary import Ordinary
from benchmarks.attacks.sender import Sender
from benchmarks.attacks.tally import Tally
from benchmarks.attacks.wire import NoAnswerError, line, wire
from tests.benchmarks.serving import serving
from tests.conftest import build_policy

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


FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
FULL = f"HTTP/1.1 503 Busy\r\nContent-Type: {PROBLEM_JSON}\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("harm", "answers", "answer", "fault"),
    [
        (half_closed, [FINE], "200", ""),
        (half_closed, [FULL], "503", ""),
        (half_closed, [FULL.replace(b"503", b"400")], "400", ""),
        (half_closed, [FULL.replace(b"503", b"500")], "500", "it must be 200"),
        (half_closed, [FULL.replace(b"problem+", b"")], "503", "of the type application/json"),
        (cut_body, [], "closed", ""),
        (pipelined, [FINE] * 20, "200", ""),
        (pipelined, [FINE] * 18 + [FULL, FINE], "503", ""),
        (pipelined, [FULL, FINE.replace(b"200", b"500")] * 10, "500", "it must be 200"),
    ],
)
async def test_harm_over_connections_says_what_was_answered(
    harm: Harm, answers: list[bytes], answer: str, fault: str
) -> None:
    said = iter(answers)
    async with serving(lambda _: next(said)) as port:
        assert_said(await harm(port, random.Random(0)), answer, fault)


def assert_said(found: tuple[str, str], answer: str, fault: str) -> None:
    assert found[0] == answer
    assert fault in found[1]
    assert bool(fault) == bool(found[1])


@asynccontextmanager
async def closing(code: int, *, room: int = 0, status: int = 0) -> AsyncIterator[int]:
    """The port of drives that are closed with this code, or refused with a status.

    So many are let in before.
    """
    drives = count()

    async def talk(connection: ServerConnection) -> None:
        if next(drives) < room:
            await connection.send("start")
            await connection.wait_closed()
        await connection.close(code)

    def refuse(connection: ServerConnection, _: Request) -> Response | None:
        return connection.respond(HTTPStatus(status), "") if status else None

    async with serve(talk, "127.0.0.1", 0, process_request=refuse) as server:
        yield next(iter(server.sockets)).getsockname()[1]


class Low(random.Random):
    """Always the first choice, and below every chance: what is left is read before."""

    def random(self) -> float:
        return 0.0


@pytest.mark.parametrize("harm", [against_the_protocol, left, unread])
async def test_harm_over_drives_says_how_they_were_closed(harm: Harm) -> None:
    for code, fault in ((1013, ""), (1011, "closed with 1011")):
        async with closing(code) as port:
            assert_said(await harm(port, Low()), f"{code}", fault)
    async with closing(0, status=503) as port:
        assert_said(await harm(port, Low()), "503", "")


async def test_a_crowd_says_how_many_were_refused() -> None:
    async with closing(1013, room=16) as port:
        assert await crowd(port, random.Random(0)) == ("8 of 24 refused", "")
    async with closing(1011, room=16) as port:
        answer, fault = await crowd(port, random.Random(0))
        assert (answer, "closed with [1011]" in fault) == ("0 of 24 refused", True)


async def test_what_is_sent_is_judged_and_noted(api: FastAPI) -> None:
    tally, chance = Tally(), random.Random(0)
    (made, *_) = generated(api.openapi(), "http://car.test", 1, 0)
    malice = Malice("by hand", "GET", "/films/x.gif", frozenset({200}))

    async def raises(_port: int, _chance: random.Random) -> tuple[str, str]:
        raise ValueError("what is this")

    async def send_all(port: int) -> None:
        # The one that was made goes elsewhere: nobody is there.
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            documented = Documented(api.openapi())
            ordinary = Ordinary(build_policy(), http, port)
            sender = Sender(http, port, documented, ordinary, chance, tally)
            await sender.ask("ordinary")
            await sender.send_generated("made", made)
            await sender.send(malice)
            await sender.harm("connections", half_closed)
            await sender.harm("drives", raises)

    async with serving(lambda _: FULL) as port:
        await send_all(port)
    assert "| by hand | 1 | 503 × 1 | 1 |" in tally.table()
    assert "| connections | 1 | 503 × 1 | 0 |" in tally.table()
    assert "| drives | 1 | none × 1 | 1 |" in tally.table()
    assert "| made | 1 | none × 1 | 1 |" in tally.table()
    assert "| ordinary | 1 | 503 × 1 | 0 |" in tally.table()
    assert "1 × drives: ValueError: what is this" in tally.violations()


def test_a_kind_that_mostly_found_no_room_is_named() -> None:
    tally = Tally()
    for kind, refused in (("films", 1), ("drives", 2), ("crowds", 20)):
        for number in range(20):
            tally.note(kind, ("503", "1013")[number % 2] if number < refused else "200", "")
    assert not tally.faulty
    assert tally.crowded_out(meant=("crowds",)) == "2 of 20 × drives: refused for want of room"


def test_what_each_request_leaves_behind_is_seen() -> None:
    def resident(over: int) -> int:
        """A cache fills for 400 requests, and 30 KiB stay of each."""
        return 500 * MIB + min(over, 400) * MIB + over * 30 * 1024

    looks = [Look(over, resident(over)) for over in range(0, 1000, 10)]
    peace = [Look(1000, 400 * MIB)] * 30
    assert left_behind([*looks, *peace], 1000) == pytest.approx(30 * 1000 / 1024)
    assert math.isnan(left_behind(peace, 1000))


def test_what_was_wrong_is_counted_by_kind() -> None:
    tally = Tally()
    for fault in ("", "bad", "bad", "worse"):
        tally.note("films", "500" if fault else "200", fault)
    assert "| films | 4 | 200 × 1, 500 × 3 | 3 |" in tally.table()
    assert tally.table().endswith("| all | 4 | | 3 |")
    assert tally.violations() == "2 × films: bad\n1 × films: worse"
    assert tally.faulty
    assert not Tally().faulty
