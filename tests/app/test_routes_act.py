from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator

import httpx
import numpy as np
import pytest

from app.api import build_api
from app.limits import LARGEST_BODIES
from app.policy_watcher import PolicyWatcher
from app.settings import Settings
from tests.app.conftest import JSON, NPY, Bench, FakeRenderer, is_problem, npy, pictures
from tests.conftest import PublishPolicy
from training.environment import shrink, to_grey
from training.layout import PolicyRef
from training.policy import Policy
from training.store import PolicyStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ref(bench: Bench, publish_policy: PublishPolicy) -> PolicyRef:
    ref = publish_policy(bench.store)
    await bench.ready()
    return ref


@pytest.fixture
def offline(bench: Bench, ref: PolicyRef) -> Policy:
    return Policy.from_published(bench.store.fetch(ref))


async def act(bench: Bench, array: np.ndarray, query: str = "") -> np.ndarray:
    response = await bench.client.post(f"/act{query}", content=npy(array), headers=NPY)
    assert response.status_code == 200, response.text
    assert response.json()["policy"] == response.headers["Policy-Version"]
    return np.array(response.json()["actions"], np.float32)


@pytest.mark.parametrize("batch", [1, 7])
async def test_the_served_action_is_the_offline_one(
    bench: Bench, offline: Policy, batch: int
) -> None:
    observations = pictures(batch, 84, 84, 4)
    np.testing.assert_array_equal(await act(bench, observations), offline.act(observations))
    floats = (observations / 255).astype(np.float32)
    np.testing.assert_array_equal(await act(bench, floats), offline.act(floats))


async def test_json_and_npy_agree(bench: Bench, ref: PolicyRef) -> None:
    observation = pictures(84, 84, 4)
    response = await bench.client.post("/act", json={"observations": observation.tolist()})
    assert response.json() == {
        "actions": (await act(bench, observation)).astype(float).tolist(),
        "policy": ref.version,
        "source": "storage",
    }


async def test_sampling_is_by_seed(bench: Bench, offline: Policy) -> None:
    observations = pictures(2, 84, 84, 4)
    sampled = await act(bench, observations, "?seed=3")
    np.testing.assert_array_equal(sampled, offline.act(observations, seed=3))
    assert (sampled != await act(bench, observations, "?seed=4")).any()
    assert (sampled != await act(bench, observations)).any()


async def test_an_answer_does_not_depend_on_what_else_is_asked(
    bench: Bench, offline: Policy
) -> None:
    bodies = np.split(pictures(56, 84, 84, 4), np.cumsum([1, 1, 3, 1, 7, 1] * 4)[:-1])
    seeds = [None, 3] * (len(bodies) // 2)
    answers = await asyncio.gather(
        *(
            act(bench, body, "" if seed is None else f"?seed={seed}")
            for body, seed in zip(bodies, seeds, strict=True)
        )
    )
    for body, seed, answer in zip(bodies, seeds, answers, strict=True):
        np.testing.assert_array_equal(answer, offline.act(body, seed=seed))


async def test_a_batch_is_its_observations_but_for_rounding(bench: Bench, offline: Policy) -> None:
    observations = pictures(7, 84, 84, 4)
    single = [offline.act(observation[None])[0] for observation in observations]
    np.testing.assert_allclose(await act(bench, observations), single, rtol=0, atol=1e-6)


async def test_raw_frames_give_the_action_of_the_preprocessed(bench: Bench, ref: PolicyRef) -> None:
    frames = pictures(4, 96, 96, 3)
    observation = np.stack([shrink(to_grey(frame), 84) for frame in frames], axis=-1)
    np.testing.assert_array_equal(await act(bench, frames), await act(bench, observation))


async def test_without_a_policy(bench: Bench) -> None:
    response = await bench.client.post("/act", content=npy(pictures(84, 84, 4)), headers=NPY)
    body = is_problem(response, 503, "no-policy")
    assert bench.store.storage.root in body["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "image/png"},
        {"Content-Type": "application/octet-stream"},
        {"Content-Type": "application/x-npy", "Content-Encoding": "gzip"},
    ],
)
async def test_other_types_are_refused(
    bench: Bench, ref: PolicyRef, headers: dict[str, str]
) -> None:
    content = gzip.compress(npy(pictures(84, 84, 4)))
    response = await bench.client.post("/act", content=content, headers=headers)
    body = is_problem(response, 415, "bad-media-type")
    assert body["errors"][0]["field"] == "header.content-type"
    assert response.headers["Accept-Post"] == "application/json, application/x-npy"


async def test_a_types_parameters_and_case_do_not_matter(bench: Bench, ref: PolicyRef) -> None:
    content = json.dumps({"observations": pictures(84, 84, 4).tolist()})
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    response = await bench.client.post("/act", content=content, headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize(
    "query", ["?seed=-1", "?seed=2147483648", "?seed=x", "?seed=1.5", "?seeds=1", "?greedy=true"]
)
async def test_queries_out_of_bounds(bench: Bench, ref: PolicyRef, query: str) -> None:
    response = await bench.client.post(
        f"/act{query}", content=npy(pictures(84, 84, 4)), headers=NPY
    )
    field = query[1:].partition("=")[0]
    assert is_problem(response, 422, "invalid")["errors"][0]["field"] == f"query.{field}"


async def test_bad_bodies_name_the_field(bench: Bench, ref: PolicyRef) -> None:
    post = bench.client.post
    is_problem(await post("/act", content=b"{", headers=JSON), 400, "bad-body")
    is_problem(await post("/act", content=b"{", headers=NPY), 400, "bad-body")
    body = is_problem(
        await post("/act", content=npy(pictures(96, 96, 3)), headers=NPY), 422, "invalid"
    )
    assert body["errors"][0]["field"] == "observations"
    assert "(84, 84, 4)" in body["detail"]


async def test_one_json_body_is_read_at_a_time(
    bench: Bench, ref: PolicyRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside: list[str] = []
    most = {JSON["Content-Type"]: 0, NPY["Content-Type"]: 0}

    def slow_decode(_content: bytes, media: str, *_: object) -> np.ndarray:
        inside.append(media)
        most[media] = max(most[media], inside.count(media))
        time.sleep(0.1)
        inside.remove(media)
        return pictures(1, 84, 84, 4)

    monkeypatch.setattr("app.routes_act.decode", slow_decode)
    post = bench.client.post
    answers = await asyncio.gather(
        *(post("/act", content=b"", headers=headers) for headers in (JSON, NPY) * 3)
    )
    assert {answer.status_code for answer in answers} == {200}
    assert list(most.values()) == [1, 2]


async def test_the_bundled_policy_acts(bundled_bench: Bench, fallback: Policy) -> None:
    await bundled_bench.ready()
    observations = pictures(2, 84, 84, 4)
    np.testing.assert_array_equal(
        await act(bundled_bench, observations), fallback.act(observations)
    )
    response = await bundled_bench.client.post("/act", content=npy(observations), headers=NPY)
    assert response.json()["policy"] == fallback.version
    assert response.json()["source"] == response.headers["Policy-Source"] == "bundled"


@pytest.fixture
def small(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_body_bytes": 65536, "act_pending": 1, "max_batch": 2})


@pytest.fixture
async def small_bench(
    small: Settings, store: PolicyStore, watcher: PolicyWatcher, publish_policy: PublishPolicy
) -> AsyncIterator[Bench]:
    publish_policy(store)
    renderer = FakeRenderer()
    api = build_api(small, watcher, renderer, store)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api), base_url="http://car.test"
    ) as client:
        bench = Bench(small, store, watcher, renderer, api, client)
        await bench.ready()
        yield bench


async def test_an_announced_giant_is_refused_unread(small_bench: Bench) -> None:
    read = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read = True
        yield bytes(65537)

    headers = NPY | {"Content-Length": "65537"}
    response = await small_bench.client.post("/act", content=body(), headers=headers)
    is_problem(response, 413, "body-too-large")
    assert not read


async def test_a_length_of_thousands_of_digits_is_none(small_bench: Bench) -> None:
    content = npy(pictures(84, 84, 4))
    headers = NPY | {"Content-Length": "0" * 5000 + str(len(content))}
    response = await small_bench.client.post("/act", content=content, headers=headers)
    assert response.status_code == 200


async def test_an_endless_body_is_given_up(small_bench: Bench) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield bytes(8192)

    response = await small_bench.client.post("/act", content=endless(), headers=NPY)
    is_problem(response, 413, "body-too-large")
    assert sent == 9


async def test_batches_are_bounded(small_bench: Bench) -> None:
    response = await small_bench.client.post(
        "/act", content=npy(np.zeros((0, 84, 84, 4), np.uint8)), headers=NPY
    )
    assert "from 1 to 2" in is_problem(response, 422, "invalid")["detail"]


async def test_more_queries_than_there_is_room_for(small_bench: Bench) -> None:
    slow = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        await slow.wait()
        yield npy(pictures(84, 84, 4))

    first = asyncio.create_task(small_bench.client.post("/act", content=body(), headers=NPY))
    await asyncio.sleep(0.05)
    is_problem(
        await small_bench.client.post("/act", content=npy(pictures(84, 84, 4)), headers=NPY),
        503,
        "busy",
    )
    slow.set()
    assert (await first).status_code == 200
    assert (await act(small_bench, pictures(84, 84, 4))).shape == (1, 3)


async def test_bodies_are_bounded_together(bench: Bench, ref: PolicyRef) -> None:
    slow = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        await slow.wait()
        yield npy(pictures(84, 84, 4))

    # Of unknown size, so they may come to as much as a body may.
    waiting = [
        asyncio.create_task(bench.client.post("/act", content=body(), headers=NPY))
        for _ in range(LARGEST_BODIES)
    ]
    await asyncio.sleep(0.1)
    refused = await bench.client.post("/act", content=npy(pictures(84, 84, 4)), headers=NPY)
    assert "bytes of queries" in is_problem(refused, 503, "busy")["detail"]
    slow.set()
    assert {each.status_code for each in await asyncio.gather(*waiting)} == {200}
    assert (await act(bench, pictures(84, 84, 4))).shape == (1, 3)


async def test_hot_swap_fails_no_query(
    bench: Bench, ref: PolicyRef, publish_policy: PublishPolicy
) -> None:
    body = npy(pictures(84, 84, 4))
    expected: dict[str, list[list[float]]] = {}
    seen: list[str] = []

    async def query() -> None:
        response = await bench.client.post("/act", content=body, headers=NPY)
        assert response.status_code == 200, response.text
        answer = response.json()
        seen.append(answer["policy"])
        # A version always comes with its own action.
        assert expected.setdefault(answer["policy"], answer["actions"]) == answer["actions"]

    await query()
    for iteration in (2, 3, 4):
        newer = publish_policy(bench.store, iteration=iteration)
        for _ in range(1000):
            await asyncio.gather(*(query() for _ in range(4)))
            if seen[-1] == newer.version:
                break
        assert seen[-1] == newer.version
    assert len(expected) == 4


async def test_a_body_that_does_not_arrive_gives_its_place_up(
    bench: Bench, ref: PolicyRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield b"a beginning"
        await asyncio.sleep(30)

    settings = Settings(body_timeout_s=0.1)
    watcher = PolicyWatcher(bench.store, 0.1)
    api = build_api(settings, watcher, FakeRenderer(), bench.store)
    transport = httpx.ASGITransport(app=api)
    watcher.start()
    assert watcher.wait_ready(20)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            response = await client.post("/act", content=stalled(), headers=NPY)
    finally:
        watcher.stop()
    assert is_problem(response, 408, "body-timeout")
    assert "11 bytes" in response.json()["detail"]


async def test_a_slash_too_many_is_not_found(bench: Bench, ref: PolicyRef) -> None:
    assert is_problem(await bench.client.get("/policies/"), 404)
