from __future__ import annotations

import asyncio

import httpx
import pytest

from app.api import build_api
from app.films import BusyError, FilmOrder, FilmPolicyError
from app.policy_watcher import PolicyWatcher
from app.renderer import NoCurveError
from app.settings import Settings
from tests.app.conftest import Bench, FakeRenderer, is_problem
from tests.conftest import PublishPolicy
from training.policy import Policy
from training.store import PolicyRef, PolicyStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ref(bench: Bench, publish_policy: PublishPolicy) -> PolicyRef:
    ref = publish_policy(bench.store, run="run-b")
    await bench.ready()
    return ref


async def test_the_default_film(bench: Bench, ref: PolicyRef) -> None:
    response = await bench.client.get("/gif")
    assert response.status_code == 200
    assert response.content == b"film 0"
    assert response.headers["Content-Type"] == "image/gif"
    assert response.headers["Policy-Version"] == ref.version
    assert response.headers["Cache-Control"] == "no-cache"
    digest = bench.store.fetch(ref).manifest.digest
    order = FilmOrder("run-b", ref.version, digest, 0, 1, 1000, 25, 300, "gif", "storage")
    assert bench.renderer.films == [order]
    assert response.headers["ETag"] == order.etag


async def test_every_option(bench: Bench, ref: PolicyRef) -> None:
    response = await bench.client.get(
        "/webp?seed=2147483647&episodes=2&max_steps=50&fps=50&width=200"
    )
    assert response.headers["Content-Type"] == "image/webp"
    (order,) = bench.renderer.films
    assert (order.seed, order.episodes, order.max_steps) == (2147483647, 2, 50)
    assert (order.fps, order.width, order.encoding) == (50, 200, "webp")


async def test_what_the_caller_has_is_not_rendered(bench: Bench, ref: PolicyRef) -> None:
    etag = (await bench.client.get("/gif?seed=1")).headers["ETag"]
    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        response = await bench.client.get("/gif?seed=1", headers={"If-None-Match": given})
        assert response.status_code == 304
        assert response.content == b""
        assert response.headers["ETag"] == etag
        assert response.headers["Policy-Version"] == ref.version
    assert len(bench.renderer.films) == 1
    other = await bench.client.get("/gif?seed=2", headers={"If-None-Match": etag})
    assert other.status_code == 200


async def test_head_renders_nothing(bench: Bench, ref: PolicyRef) -> None:
    response = await bench.client.head("/gif?seed=1")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "image/gif"
    assert bench.renderer.films == []
    assert response.headers["ETag"] == (await bench.client.get("/gif?seed=1")).headers["ETag"]


async def test_a_newer_policy_changes_the_etag(
    bench: Bench, ref: PolicyRef, publish_policy: PublishPolicy
) -> None:
    etag = (await bench.client.head("/gif")).headers["ETag"]
    newer = publish_policy(bench.store, iteration=2)
    for _ in range(100):
        response = await bench.client.head("/gif", headers={"If-None-Match": etag})
        if response.status_code == 200:
            break
        await asyncio.sleep(0.05)
    assert response.headers["Policy-Version"] == newer.version


@pytest.mark.parametrize(
    "query",
    [
        "seed=-1",
        "seed=2147483648",
        "seed=9999999999999999999999",
        "seed=one",
        "seed=",
        "episodes=0",
        "episodes=10000",
        "max_steps=0",
        "max_steps=1001",
        "fps=0",
        "fps=51",
        "fps=nan",
        "width=29",
        "width=601",
        "height=200",
        "policy=other",
    ],
)
@pytest.mark.parametrize("path", ["/gif", "/webp"])
async def test_films_out_of_bounds(bench: Bench, ref: PolicyRef, path: str, query: str) -> None:
    body = is_problem(await bench.client.get(f"{path}?{query}"), 422, "invalid")
    assert body["errors"][0]["field"] == f"query.{query.partition('=')[0]}"
    assert bench.renderer.films == []


async def test_a_film_has_to_fit_into_memory(bench: Bench, ref: PolicyRef) -> None:
    allowed = "fps=50&width=600"
    assert (await bench.client.get(f"/gif?{allowed}")).status_code == 200
    is_problem(await bench.client.get(f"/gif?{allowed}&episodes=2"), 422, "invalid")
    is_problem(await bench.client.get(f"/webp?{allowed}"), 422, "invalid")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BusyError("16 films are waiting already"), "busy"),
        (FilmPolicyError("gone"), "policy-gone"),
        (ConnectionError("no route"), "storage-away"),
        (TimeoutError("no answer"), "storage-away"),
    ],
)
async def test_films_that_cannot_be_made_now(
    bench: Bench, ref: PolicyRef, error: Exception, kind: str
) -> None:
    bench.renderer.error = error
    is_problem(await bench.client.get("/gif"), 503, kind)


async def test_a_slow_film_is_a_problem_before_serve_gives_up(
    settings: Settings, store: PolicyStore, watcher: PolicyWatcher, publish_policy: PublishPolicy
) -> None:
    publish_policy(store)
    watcher.look()
    renderer = FakeRenderer(gate=asyncio.Event())
    short = settings.model_copy(update={"film_timeout_s": 0.1, "film_pending": 1})
    api = build_api(short, watcher, renderer, store)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api), base_url="http://car.test"
    ) as client:
        for _ in range(2):  # the first has left its place
            body = is_problem(await client.get("/gif"), 503, "render-timeout")
    assert "not ready within 0.1 s" in body["detail"]


async def test_the_number_of_waiting_requests_is_bounded(bench: Bench, ref: PolicyRef) -> None:
    bench.renderer.gate = asyncio.Event()
    limit = bench.settings.film_pending
    waiting = [asyncio.create_task(bench.client.get("/gif")) for _ in range(limit)]
    await asyncio.sleep(0.5)
    assert len(bench.renderer.films) == limit
    is_problem(await bench.client.get("/gif"), 503, "busy")
    assert (await bench.client.get("/health/live")).status_code == 200
    bench.renderer.gate.set()
    assert {response.status_code for response in await asyncio.gather(*waiting)} == {200}
    assert (await bench.client.get("/gif")).status_code == 200


CURVES = {
    "/curve.png": "image/png",
    "/curve.svg": "image/svg+xml",
    "/curve.json": "application/json",
}


@pytest.mark.parametrize("path", CURVES)
async def test_the_curve_of_the_policys_trial(bench: Bench, ref: PolicyRef, path: str) -> None:
    response = await bench.client.get(f"{path}?finetune_at=500")
    assert response.status_code == 200
    assert response.content == b"curve run-b"
    assert response.headers["Content-Type"] == CURVES[path]
    assert response.headers["Policy-Version"] == ref.version
    assert bench.renderer.curves == [("run-b", "trial-1", path.rpartition(".")[2], 500, "storage")]
    known = {"If-None-Match": response.headers["ETag"]}
    assert (await bench.client.get(path, headers=known)).status_code == 304


@pytest.mark.parametrize("path", CURVES)
async def test_no_curve(bench: Bench, ref: PolicyRef, path: str) -> None:
    bench.renderer.error = NoCurveError("run run-b has no table of its progress")
    assert "run-b" in is_problem(await bench.client.get(path), 404, "no-curve")["detail"]
    bench.renderer.error = BusyError("later")
    is_problem(await bench.client.get(path), 503, "busy")
    bench.renderer.error = ConnectionError("no route")
    is_problem(await bench.client.get(path), 503, "storage-away")


@pytest.mark.parametrize("query", ["finetune_at=0", "finetune_at=x", "trial=other"])
async def test_curves_out_of_bounds(bench: Bench, ref: PolicyRef, query: str) -> None:
    is_problem(await bench.client.get(f"/curve.png?{query}"), 422, "invalid")


@pytest.mark.parametrize("path", ["/gif", "/webp", *CURVES])
async def test_without_a_policy(bench: Bench, path: str) -> None:
    is_problem(await bench.client.get(path), 503, "no-policy")


async def test_pictures_of_the_bundled_policy(
    bundled_bench: Bench, fallback: Policy, publish_policy: PublishPolicy
) -> None:
    await bundled_bench.ready()
    client, renderer = bundled_bench.client, bundled_bench.renderer
    film = await client.get("/gif")
    assert film.headers["Policy-Source"] == "bundled"
    manifest = fallback.manifest
    order = FilmOrder(manifest.run, manifest.version, manifest.digest, source="bundled")
    assert renderer.films == [order]
    assert film.headers["ETag"] == order.etag
    curve = await client.get("/curve.json")
    assert curve.headers["Policy-Source"] == "bundled"
    assert renderer.curves == [("run-0", "trial-1", "json", None, "bundled")]

    publish_policy(bundled_bench.store, run="run-b")
    known = {"If-None-Match": film.headers["ETag"]}
    for _ in range(250):
        response = await client.head("/gif", headers=known)
        if response.status_code == 200:
            break
        await asyncio.sleep(0.02)
    assert response.headers["Policy-Source"] == "storage"
    await client.get("/curve.json")
    assert renderer.curves[1:] == [("run-b", "trial-1", "json", None, "storage")]
