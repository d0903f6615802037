from __future__ import annotations

import httpx
import pytest
from fastapi import Response

from app.problems import PROBLEM_JSON, ProblemApi, ProblemError, invalid, problems
from tests.app.conftest import is_problem

pytestmark = pytest.mark.anyio


@pytest.fixture
def api() -> ProblemApi:
    api = ProblemApi()

    @api.get("/number", responses=problems(422))
    async def number(at: int) -> int:
        if at < 0:
            raise invalid("query.at", "it is negative; it must be 0 or more")
        return at

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
    assert "GET" in response.headers["Allow"]


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
    assert list(responses) == ["200", "422", "500"]
    assert list(responses["422"]["content"]) == [PROBLEM_JSON]
    assert {"Problem", "FieldError"} <= set(document["components"]["schemas"])
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert "Retry-After" in document["paths"]["/busy"]["get"]["responses"]["503"]["headers"]
