from __future__ import annotations

import asyncio

import httpx
import pytest

from app.api.application import build_api
from app.errors import OverloadedError, PolicyNotFoundError, StorageUnavailableError
from app.policies.watcher import PolicyWatcher
from app.rendering.film_order import FilmOrder
from app.settings import Settings
from tests.app.conftest import Bench, FakeRenderer, eventually, get_until, is_problem
from tests.conftest import PublishPolicy
from training.policy.acting import Policy
from training.policy.manifest import MANIFEST_FILE
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore

pytestmark = pytest.mark.anyio

FOR_EVER = "public, max-age=31536000, immutable"
PATHS = ["/gif", "/webp", "/mp4"]
MEDIA_TYPES = {"gif": "image/gif", "webp": "image/webp", "mp4": "video/mp4"}
ENCODINGS = list(MEDIA_TYPES)


@pytest.fixture
async def ref(bench: Bench, publish_policy: PublishPolicy) -> PolicyRef:
    ref = publish_policy(bench.store, run="run-b")
    await bench.ready()
    return ref


def order_of(store: PolicyStore, ref: PolicyRef, seed: int = 0, encoding: str = "gif") -> FilmOrder:
    """The default film of a policy in a store."""
    digest = store.fetch(ref).manifest.digest
    return FilmOrder(ref.run, ref.version, digest, seed, 1, 1000, 25, 300, encoding, "storage")  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_the_newest_policys_film_is_at_its_own_address(
    bench: Bench, ref: PolicyRef, method: str, encoding: str
) -> None:
    response = await bench.client.request(method, f"/{encoding}")
    assert (response.status_code, response.content) == (307, b"")
    assert response.headers["Location"] == f"gif/{ref.version}/0.{encoding}"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["Policy-Version"] == ref.version
    assert response.headers["Policy-Source"] == "storage"
    assert bench.renderer.films == []


async def test_options_go_along_but_for_defaults(bench: Bench, ref: PolicyRef) -> None:
    query = "width=200&seed=2147483647&episodes=1&fps=50&max_steps=50"
    response = await bench.client.get(f"/webp?{query}")
    expected = f"gif/{ref.version}/2147483647.webp?max_steps=50&fps=50&width=200"
    assert response.headers["Location"] == expected
    defaults = "seed=7&episodes=1&max_steps=1000&fps=25&width=300"
    response = await bench.client.get(f"/gif?{defaults}")
    assert response.headers["Location"] == f"gif/{ref.version}/7.gif"


async def test_the_address_is_relative_to_where_the_service_is(
    bench: Bench, ref: PolicyRef
) -> None:
    location = (await bench.client.get("/gif?seed=7")).headers["Location"]
    below = httpx.URL("http://car.test/some/path/gif?seed=7").join(location)
    assert below.path == f"/some/path/gif/{ref.version}/7.gif"


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_film(bench: Bench, ref: PolicyRef, encoding: str) -> None:
    response = await bench.client.get(f"/gif/{ref.version}/7.{encoding}")
    assert response.status_code == 200
    assert response.content == b"film 7"
    assert response.headers["Content-Type"] == MEDIA_TYPES[encoding]
    assert response.headers["Cache-Control"] == FOR_EVER
    assert response.headers["Policy-Version"] == ref.version
    assert response.headers["Policy-Source"] == "storage"
    order = order_of(bench.store, ref, 7, encoding)
    assert bench.renderer.films == [order]
    assert response.headers["ETag"] == order.etag


async def test_every_option(bench: Bench, ref: PolicyRef) -> None:
    address = f"/gif/{ref.version}/2147483647.webp?episodes=2&max_steps=50&fps=50&width=200"
    assert (await bench.client.get(address)).status_code == 200
    (order,) = bench.renderer.films
    assert (order.seed, order.episodes, order.max_steps) == (2147483647, 2, 50)
    assert (order.fps, order.width, order.encoding) == (50, 200, "webp")


async def test_the_way_leads_to_the_film_that_was_asked_for(bench: Bench, ref: PolicyRef) -> None:
    response = await bench.client.get("/gif?seed=3&width=60", follow_redirects=True)
    assert response.content == b"film 3"
    assert [(film.seed, film.width) for film in bench.renderer.films] == [(3, 60)]


async def test_what_the_caller_has_is_not_rendered(bench: Bench, ref: PolicyRef) -> None:
    address, other = f"/gif/{ref.version}/1.gif", f"/gif/{ref.version}/2.gif"
    etag = order_of(bench.store, ref, 1).etag
    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        for method in ("GET", "HEAD"):
            known = {"If-None-Match": given}
            response = await bench.client.request(method, address, headers=known)
            assert (response.status_code, response.content) == (304, b"")
            assert response.headers["ETag"] == etag
            assert response.headers["Cache-Control"] == FOR_EVER
            assert response.headers["Policy-Version"] == ref.version
    assert bench.renderer.films == []
    response = await bench.client.get(other, headers={"If-None-Match": etag})
    assert response.status_code == 200


async def test_head_answers_what_get_would(bench: Bench, ref: PolicyRef) -> None:
    address = f"/gif/{ref.version}/11.gif"
    head = await bench.client.head(address)
    got = await bench.client.get(address)
    assert (head.status_code, head.content) == (200, b"")
    assert dict(head.headers) == dict(got.headers)
    assert head.headers["Content-Length"] == str(len(got.content))
    bench.renderer.error = OverloadedError("16 films are waiting already")
    assert (await bench.client.head(address)).status_code == 503


async def test_a_policy_that_was_newest_keeps_its_films(
    bench: Bench, ref: PolicyRef, publish_policy: PublishPolicy
) -> None:
    before = await bench.client.get("/gif", follow_redirects=True)
    newer = publish_policy(bench.store, iteration=2)
    response = await get_until(bench, "/gif", newer.version)
    assert response.headers["Location"] == f"gif/{newer.version}/0.gif"
    again = await bench.client.get(before.request.url)
    assert again.headers["ETag"] == before.headers["ETag"]
    assert again.headers["Policy-Version"] == ref.version
    assert bench.renderer.films == [order_of(bench.store, ref)] * 2


OUT_OF_BOUNDS = ("episodes=0", "max_steps=1001", "fps=nan", "width=601", "policy=..")


async def test_options_out_of_bounds_are_refused_by_name(bench: Bench, ref: PolicyRef) -> None:
    for query in ("seed=-1", "seed=2147483648", "seed=one", *OUT_OF_BOUNDS):
        for path in PATHS:
            body = is_problem(await bench.client.get(f"{path}?{query}"), 422, "invalid")
            assert body["errors"][0]["field"] == f"query.{query.partition('=')[0]}"
    for query in ("seed=1", *OUT_OF_BOUNDS):
        for encoding in ENCODINGS:
            response = await bench.client.get(f"/gif/{ref.version}/7.{encoding}?{query}")
            body = is_problem(response, 422, "invalid")
            assert body["errors"][0]["field"] == f"query.{query.partition('=')[0]}"


async def test_seeds_of_addresses_out_of_bounds(bench: Bench, ref: PolicyRef) -> None:
    for seed in ("-1", "2147483648", "9" * 5000, "one", "1_0", "1.0"):
        response = await bench.client.get(f"/gif/{ref.version}/{seed}.gif")
        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == "path.seed"
    assert bench.renderer.films == []


async def test_no_such_addresses(bench: Bench, ref: PolicyRef) -> None:
    for rest in ("7", "7.png", "7.gif/", ""):
        is_problem(await bench.client.get(f"/gif/{ref.version}/{rest}"), 404)


async def test_an_address_of_no_policy(bench: Bench, ref: PolicyRef) -> None:
    response = await bench.client.get("/gif/absent/7.gif")
    assert "'absent'" in is_problem(response, 404, "no-such-policy")["detail"]
    assert response.headers["Cache-Control"] == "no-store"


async def test_a_film_has_to_fit_into_memory(bench: Bench, ref: PolicyRef) -> None:
    allowed = "fps=50&width=600"
    assert (await bench.client.get(f"/gif?{allowed}")).status_code == 307
    is_problem(await bench.client.get(f"/gif?{allowed}&episodes=2"), 422, "invalid")
    is_problem(await bench.client.get(f"/webp?{allowed}"), 422, "invalid")
    address = f"/gif/{ref.version}/7"
    assert (await bench.client.get(f"{address}.gif?{allowed}")).status_code == 200
    is_problem(await bench.client.get(f"{address}.gif?{allowed}&episodes=2"), 422, "invalid")
    is_problem(await bench.client.get(f"{address}.webp?{allowed}"), 422, "invalid")
    is_problem(await bench.client.get(f"{address}.mp4?{allowed}"), 422, "invalid")


@pytest.mark.parametrize("address", ["/mp4", "/gif/served/7.mp4", "/gif/{version}/7.mp4"])
async def test_without_its_extra_an_mp4_is_refused(
    bench: Bench, ref: PolicyRef, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.extras.find_spec", {"imageio": 1}.get)
    response = await bench.client.get(address.format(version=ref.version))
    assert "pip install" in is_problem(response, 422, "invalid")["detail"]
    assert bench.renderer.films == []
    assert (await bench.client.get(f"/gif/{ref.version}/7.gif")).status_code == 200


async def test_an_address_shows_the_same_film_whatever_the_settings(
    settings: Settings, store: PolicyStore, watcher: PolicyWatcher, publish_policy: PublishPolicy
) -> None:
    ref = publish_policy(store)
    watcher.look()
    small = settings.model_copy(update={"film_max_steps": 500, "film_max_width": 200})
    api = build_api(small, watcher, FakeRenderer(), store)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api), base_url="http://car.test"
    ) as client:
        response = await client.get("/gif")
        expected = f"gif/{ref.version}/0.gif?max_steps=500&width=200"
        assert response.headers["Location"] == expected
        assert (await client.get(f"/{expected}")).status_code == 200
        body = is_problem(await client.get(f"/gif/{ref.version}/0.gif"), 422, "invalid")
        assert {each["field"] for each in body["errors"]} == {"query.max_steps", "query.width"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OverloadedError("16 films are waiting already"), "busy"),
        (StorageUnavailableError("no route"), "storage-away"),
    ],
)
async def test_films_that_cannot_be_made_now(
    bench: Bench, ref: PolicyRef, error: Exception, kind: str
) -> None:
    bench.renderer.error = error
    is_problem(await bench.client.get(f"/gif/{ref.version}/7.gif"), 503, kind)


async def test_the_film_of_a_policy_that_is_gone(bench: Bench, ref: PolicyRef) -> None:
    bench.renderer.error = PolicyNotFoundError("it is not in storage any more")
    response = await bench.client.get(f"/gif/{ref.version}/7.gif")
    assert "any more" in is_problem(response, 404, "no-such-policy")["detail"]


async def test_a_slow_film_is_a_problem_before_serve_gives_up(
    settings: Settings, store: PolicyStore, watcher: PolicyWatcher, publish_policy: PublishPolicy
) -> None:
    ref = publish_policy(store)
    watcher.look()
    renderer = FakeRenderer(gate=asyncio.Event())
    short = settings.model_copy(update={"film_timeout_s": 0.1, "film_pending": 1})
    api = build_api(short, watcher, renderer, store)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api), base_url="http://car.test"
    ) as client:
        for _ in range(2):  # the first has left its place
            response = await client.get(f"/gif/{ref.version}/0.gif")
            body = is_problem(response, 503, "render-timeout")
    assert "not ready within 0.1 s" in body["detail"]


async def test_the_number_of_waiting_requests_is_bounded(bench: Bench, ref: PolicyRef) -> None:
    address = f"/gif/{ref.version}/0.gif"
    bench.renderer.gate = asyncio.Event()
    limit = bench.settings.film_pending
    waiting = [asyncio.create_task(bench.client.get(address)) for _ in range(limit)]

    async def all_wait() -> bool:
        return len(bench.renderer.films) == limit

    await eventually(all_wait)
    is_problem(await bench.client.get(address), 503, "busy")
    assert (await bench.client.get("/health/live")).status_code == 200
    bench.renderer.gate.set()
    assert {response.status_code for response in await asyncio.gather(*waiting)} == {200}
    assert (await bench.client.get(address)).status_code == 200


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_policy(bench: Bench, path: str) -> None:
    is_problem(await bench.client.get(path), 503, "no-policy")
    is_problem(await bench.client.get("/gif/absent/7.gif"), 404, "no-such-policy")


async def test_films_of_the_bundled_policy_outlast_its_service(
    bundled_bench: Bench, fallback: Policy, publish_policy: PublishPolicy
) -> None:
    await bundled_bench.ready()
    client, renderer = bundled_bench.client, bundled_bench.renderer
    film = await client.get("/gif", follow_redirects=True)
    assert film.headers["Policy-Source"] == "bundled"
    manifest = fallback.manifest
    order = FilmOrder(manifest.run, manifest.version, manifest.digest, source="bundled")
    assert renderer.films == [order]
    assert film.headers["ETag"] == order.etag

    newer = publish_policy(bundled_bench.store, run="run-b")
    response = await get_until(bundled_bench, "/gif", newer.version)
    assert response.headers["Location"] == f"gif/{newer.version}/0.gif"
    again = await client.head(film.request.url, headers={"If-None-Match": order.etag})
    assert again.status_code == 304
    assert again.headers["Policy-Source"] == "bundled"


async def test_the_manifest_of_a_broken_policy_tells_why_there_is_no_film(
    bench: Bench, ref: PolicyRef, publish_policy: PublishPolicy
) -> None:
    bench.watcher.stop()  # it may have loaded the policy before it is broken
    broken = publish_policy(bench.store, iteration=2)
    bench.store.storage.write(f"{broken.folder}/{MANIFEST_FILE}", b"{}")
    response = await bench.client.get(f"/gif/{broken.version}/7.gif")
    body = is_problem(response, 404, "no-such-policy")
    assert "manifest.json is not valid" in body["detail"]
