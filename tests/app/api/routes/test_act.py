from __future__ import annotations

import asyncio
import gzip
import json
import threading

import httpx
import numpy as np
import pytest

from tests.app.conftest import JSON, NPY, Bench, is_problem, npy, pictures
from tests.conftest import PublishPolicy
from tests.support.waiting import PATIENCE_S
from training.environment.pipeline import shrink, to_grey
from training.policy.acting import Policy
from training.store.layout import PolicyRef

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


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "image/png"}])
async def test_other_types_are_refused(
    bench: Bench, ref: PolicyRef, headers: dict[str, str]
) -> None:
    content = npy(pictures(84, 84, 4))
    response = await bench.client.post("/act", content=content, headers=headers)
    body = is_problem(response, 415, "bad-media-type")
    assert body["errors"][0]["field"] == "header.content-type"
    assert response.headers["Accept-Post"].split(", ") == [
        "application/json",
        "application/x-npy",
        "multipart/form-data",
    ]


@pytest.mark.parametrize("media", [JSON, NPY])
async def test_a_compressed_body_is_refused_for_its_encoding(
    bench: Bench, ref: PolicyRef, media: dict[str, str]
) -> None:
    headers = media | {"Content-Encoding": "gzip"}
    response = await bench.client.post("/act", content=gzip.compress(b"{}"), headers=headers)
    body = is_problem(response, 415, "bad-media-type")
    assert body["errors"][0]["field"] == "header.content-encoding"
    assert "gzip" in body["detail"]
    assert response.headers["Accept-Encoding"] == "identity"


async def test_identity_is_no_compression(bench: Bench, ref: PolicyRef) -> None:
    headers = NPY | {"Content-Encoding": "identity"}
    content = npy(pictures(84, 84, 4))
    response = await bench.client.post("/act", content=content, headers=headers)
    assert response.status_code == 200


async def test_json_may_begin_with_a_byte_order_mark(bench: Bench, ref: PolicyRef) -> None:
    content = json.dumps({"observations": pictures(84, 84, 4).tolist()})
    answers = [
        (await bench.client.post("/act", content=content.encode(coding), headers=JSON)).json()
        for coding in ("utf-8", "utf-8-sig")
    ]
    assert answers[0]["actions"] == answers[1]["actions"]


async def test_a_types_parameters_and_case_do_not_matter(bench: Bench, ref: PolicyRef) -> None:
    content = json.dumps({"observations": pictures(84, 84, 4).tolist()})
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    response = await bench.client.post("/act", content=content, headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("query", ["?seed=-1", "?seed=2147483648", "?seed=1.5", "?greedy=true"])
async def test_queries_out_of_bounds(bench: Bench, ref: PolicyRef, query: str) -> None:
    response = await bench.client.post(
        f"/act{query}", content=npy(pictures(84, 84, 4)), headers=NPY
    )
    field = query[1:].partition("=")[0]
    assert is_problem(response, 422, "invalid")["errors"][0]["field"] == f"query.{field}"


async def test_one_json_body_is_read_at_a_time(
    bench: Bench, ref: PolicyRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    json_bodies = 0
    begun, go_on = threading.Event(), threading.Event()
    both_npy = threading.Barrier(2)

    def slow_decode(_content: bytes, media: str, *_: object) -> np.ndarray:
        nonlocal json_bodies
        if media == JSON["Content-Type"]:
            json_bodies += 1
            begun.set()
            assert go_on.wait(PATIENCE_S)
        else:
            both_npy.wait(PATIENCE_S)
        return pictures(1, 84, 84, 4)

    monkeypatch.setattr("app.api.routes.act.decode", slow_decode)

    def ask(headers: dict[str, str]) -> asyncio.Task[httpx.Response]:
        return asyncio.create_task(bench.client.post("/act", content=b"", headers=headers))

    in_json = [ask(JSON) for _ in range(3)]
    assert await asyncio.to_thread(begun.wait, PATIENCE_S)
    # Two others are decoded meanwhile, at the same time.
    in_npy = await asyncio.gather(ask(NPY), ask(NPY))
    assert {answer.status_code for answer in in_npy} == {200}
    assert json_bodies == 1
    go_on.set()
    assert {answer.status_code for answer in await asyncio.gather(*in_json)} == {200}


async def test_the_bundled_policy_acts(bundled_bench: Bench, fallback: Policy) -> None:
    await bundled_bench.ready()
    observations = pictures(2, 84, 84, 4)
    np.testing.assert_array_equal(
        await act(bundled_bench, observations), fallback.act(observations)
    )
    response = await bundled_bench.client.post("/act", content=npy(observations), headers=NPY)
    assert response.json()["policy"] == fallback.version
    assert response.json()["source"] == response.headers["Policy-Source"] == "bundled"


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


async def test_a_slash_too_many_is_not_found(bench: Bench, ref: PolicyRef) -> None:
    assert is_problem(await bench.client.get("/policies/"), 404)
