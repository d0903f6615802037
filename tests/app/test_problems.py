from __future__ import annotations

from typing import Annotated

import httpx
import pytest
from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict
from starlette.types import Receive, Scope, Send

from app.problems import PROBLEM_JSON, ProblemApi, ProblemError, invalid, problems
from tests.app.conftest import is_problem

pytestmark = pytest.mark.anyio


class NoParameters(BaseModel):
    model_config = ConfigDict(extra="forbid")


@pytest.fixture
def api() -> ProblemApi:
    api = ProblemApi()

    @api.get("/number", responses=problems(422))
    async def number(at: int) -> int:
        if at < 0:
            raise invalid("query.at", "it is negative; it must be 0 or more")
        return at

    @api.get("/none", responses=problems(422))
    async def none(query: Annotated[NoParameters, Query()]) -> None:
        return None

    @api.get("/busy", responses=problems(503))
    async def busy() -> None:
        raise ProblemError(503, "busy", "come back", retry_after_s=7)

    @api.get("/bug", responses=problems())
    async def bug() -> Response:
        raise RuntimeError("the password is swordfish")

    return api


@pytest.fixture
def client(api: ProblemApi) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://car.test")


async def test_frameworks_validation_errors_are_problems(client: httpx.AsyncClient) -> None:
    body = is_problem(await client.get("/number?at=far"), 422, "invalid")
    assert body["errors"][0]["field"] == "query.at"
    assert "valid integer" in body["errors"][0]["message"]


async def test_our_own_name_the_field(client: httpx.AsyncClient) -> None:
    body = is_problem(await client.get("/number?at=-1"), 422, "invalid")
    assert body["errors"] == [{"field": "query.at", "message": body["detail"]}]


async def test_retry_after(client: httpx.AsyncClient) -> None:
    response = await client.get("/busy")
    assert "errors" not in is_problem(response, 503, "busy")
    assert response.headers["Retry-After"] == "7"
    assert response.headers["Cache-Control"] == "no-store"


async def test_unknown_path_and_method(client: httpx.AsyncClient) -> None:
    is_problem(await client.get("/nowhere"), 404)
    response = await client.delete("/number")
    is_problem(response, 405)
    assert response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/now%0d%0ahere", "/%ff", "//evil.example", "/a%3Fb", "/%23"])
async def test_an_odd_path_is_named_as_it_is(client: httpx.AsyncClient, path: str) -> None:
    is_problem(await client.get(path), 404)


async def test_a_query_that_is_no_text(api: ProblemApi) -> None:
    async def passed_on(scope: Scope, receive: Receive, send: Send) -> None:
        await api({**scope, "query_string": b"at=\xff"}, receive, send)

    transport = httpx.ASGITransport(passed_on)
    async with httpx.AsyncClient(transport=transport, base_url="http://car.test") as client:
        is_problem(await client.get("/number"), 422, "invalid")


async def test_an_answer_does_not_outgrow_its_request(client: httpx.AsyncClient) -> None:
    query = "&".join(f"{number}{'a' * 200}=1" for number in range(30))
    body = is_problem(await client.get(f"/none?{query}"), 422, "invalid")
    assert len(body["errors"]) == 10
    assert {len(error["field"]) for error in body["errors"]} == {128}


async def test_a_bug_is_logged_and_not_told(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    response = await client.get("/bug")
    is_problem(response, 500)
    assert "swordfish" not in response.text
    assert "swordfish" in caplog.text


def test_the_document_describes_problems(api: ProblemApi) -> None:
    document = api.openapi()
    assert document is api.openapi()
    responses = document["paths"]["/number"]["get"]["responses"]
    assert list(responses) == ["200", "422", "414", "431", "500"]
    assert list(responses["422"]["content"]) == [PROBLEM_JSON]
    assert {"Problem", "FieldError"} <= set(document["components"]["schemas"])
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert "Retry-After" in document["paths"]["/busy"]["get"]["responses"]["503"]["headers"]
