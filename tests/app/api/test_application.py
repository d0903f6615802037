from __future__ import annotations

import re
import threading

import pytest

from app.problems import PROBLEM_JSON
from tests.app.conftest import Bench, get_until, is_problem
from tests.conftest import PublishPolicy
from tests.support.waiting import PATIENCE_S
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore

pytestmark = pytest.mark.anyio

FILM = {"200", "304", "307", "400", "404", "422", "500", "503"}
EXPECTED = {
    ("post", "/act"): {"200", "400", "404", "408", "413", "415", "422", "500", "503"},
    ("get", "/gif"): {"307", "400", "404", "422", "500", "503"},
    ("get", "/webp"): {"307", "400", "404", "422", "500", "503"},
    ("get", "/mp4"): {"307", "400", "404", "422", "500", "503"},
    ("get", "/gif/{policy}/{seed}.gif"): FILM,
    ("get", "/gif/{policy}/{seed}.webp"): FILM,
    ("get", "/gif/{policy}/{seed}.mp4"): FILM,
    ("get", "/curve.png"): {"200", "304", "400", "404", "422", "500", "503"},
    ("get", "/curve.svg"): {"200", "304", "400", "404", "422", "500", "503"},
    ("get", "/curve.json"): {"200", "304", "400", "404", "422", "500", "503"},
    ("get", "/policy"): {"200", "400", "404", "422", "500", "503"},
    ("get", "/policies"): {"200", "304", "400", "422", "500", "503"},
    ("get", "/health/live"): {"200", "400", "500"},
    ("get", "/health/ready"): {"200", "400", "500", "503"},
    ("get", "/"): {"200", "304", "400", "500"},
}


EVERYWHERE = {"414", "431"}


EXPECTED_INFERENCE = {
    ("get", ""): {"200", "400", "500"},
    ("get", "/health/live"): {"200", "400", "500"},
    ("get", "/health/ready"): {"200", "400", "500", "503"},
    **{
        (method, f"/models/{{model}}{version}{path}"): {
            "200",
            "400",
            "404",
            "422",
            "500",
            "503",
            *others,
        }
        for version in ("", "/versions/{version}")
        for method, path, others in (
            ("get", "", ()),
            ("get", "/ready", ()),
            ("post", "/infer", ("408", "413", "415")),
        )
    },
}


async def test_the_document_names_every_route_and_error(bench: Bench) -> None:
    document = (await bench.client.get("/openapi.json")).json()
    found = {
        (method, path): set(operation["responses"]) - EVERYWHERE
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert found == EXPECTED | {
        (method, f"/v2{path}"): statuses for (method, path), statuses in EXPECTED_INFERENCE.items()
    }
    for path, operations in document["paths"].items():
        media_type = "application/json" if path.startswith("/v2") else PROBLEM_JSON
        for operation in operations.values():
            assert set(operation["responses"]) >= EVERYWHERE
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == [media_type]


async def test_the_document_describes_bodies_and_bounds(bench: Bench) -> None:
    paths = (await bench.client.get("/openapi.json")).json()["paths"]
    body = paths["/act"]["post"]["requestBody"]
    assert body["required"]
    assert set(body["content"]) == {"application/json", "application/x-npy", "multipart/form-data"}
    bounds = {each["name"]: each["schema"] for each in paths["/gif"]["get"]["parameters"]}
    assert (bounds["episodes"]["minimum"], bounds["episodes"]["maximum"]) == (1, 5)
    assert (bounds["seed"]["minimum"], bounds["seed"]["maximum"]) == (0, 2**31 - 1)
    assert bounds["seed"]["description"]
    assert bounds["fps"]["default"] == 25
    film = paths["/gif/{policy}/{seed}.gif"]["get"]
    bounds = {each["name"]: each["schema"] for each in film["parameters"]}
    assert set(bounds) == {"policy", "seed", "episodes", "max_steps", "fps", "width"}
    assert (bounds["seed"]["minimum"], bounds["seed"]["maximum"]) == (0, 2**31 - 1)
    assert bounds["max_steps"]["default"] == 1000
    assert "Location" in paths["/gif"]["get"]["responses"]["307"]["headers"]


async def test_the_docs_load_nothing_from_elsewhere(bench: Bench) -> None:
    page = await bench.client.get("/docs")
    addresses = re.findall(r"""(?:src|href|url)[=:] ?["']([^"']*)["']""", page.text)
    assert "openapi.json" in addresses
    for address in addresses:
        # Relative, so that they hold below a path prefix as well.
        assert not address.startswith(("/", "http:", "https:"))
        assert (await bench.client.get(f"/{address}")).status_code == 200
    is_problem(await bench.client.get("/docs/nothing.js"), 404)


async def test_unknown_paths_and_methods(bench: Bench) -> None:
    is_problem(await bench.client.get("/favicon.ico"), 404)
    is_problem(await bench.client.get("/act"), 405)
    is_problem(await bench.client.post("/gif"), 405)


async def test_what_answers_get_answers_head(bench: Bench, publish_policy: PublishPolicy) -> None:
    ref = publish_policy(bench.store)
    await bench.ready()
    for method, path in EXPECTED:
        if method == "get":
            address = path.format(policy=ref.version, seed=0)
            got, head = await bench.client.get(address), await bench.client.head(address)
            assert (head.status_code, head.headers.get("ETag")) == (
                got.status_code,
                got.headers.get("ETag"),
            )
            refused = await bench.client.delete(address)
            is_problem(refused, 405)
            assert refused.headers["Allow"] == "GET, HEAD"


async def test_a_lifespan_loads_the_policy_before_the_first_request(
    bench: Bench, publish_policy: PublishPolicy
) -> None:
    ref = publish_policy(bench.store)
    async with bench.api.router.lifespan_context(bench.api):
        ready = await bench.client.get("/health/ready")
        assert ready.json()["policy"] == ref.version
    assert not bench.watcher.alive


async def test_a_lifespan_starts_while_storage_is_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: PolicyStore) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(PolicyStore, "latest_ref", away)
    async with bench.api.router.lifespan_context(bench.api):
        assert (await bench.client.get("/health/live")).status_code == 200
        is_problem(await bench.client.get("/health/ready"), 503, "no-policy")


async def test_a_lifespan_whose_first_look_hangs_begins_with_the_bundled_policy(
    bundled_bench: Bench, publish_policy: PublishPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    latest_ref, answering = PolicyStore.latest_ref, threading.Event()

    def slow(store: PolicyStore) -> PolicyRef | None:
        answering.wait(PATIENCE_S)
        return latest_ref(store)

    monkeypatch.setattr(PolicyStore, "latest_ref", slow)
    monkeypatch.setattr("app.api.application._FIRST_LOOK_S", 0.1)
    ref = publish_policy(bundled_bench.store)
    api, client = bundled_bench.api, bundled_bench.client
    async with api.router.lifespan_context(api):
        assert (await client.get("/health/ready")).json()["source"] == "bundled"
        answering.set()
        await get_until(bundled_bench, "/health/ready", ref.version)
