from __future__ import annotations

import asyncio
import threading
from datetime import datetime

import pytest

from tests.app.conftest import Bench, eventually, is_problem
from tests.conftest import PublishPolicy
from tests.support.waiting import PATIENCE_S
from training.policy.acting import Policy
from training.policy.manifest import MANIFEST_FILE, WEIGHTS_FILE
from training.store.policies import Listing, PolicyStore

pytestmark = pytest.mark.anyio


async def test_the_served_policy(bench: Bench, publish_policy: PublishPolicy) -> None:
    ref = publish_policy(bench.store, iteration=7, phase="finetune")
    await bench.ready()
    response = await bench.client.get("/policy")
    assert response.headers["Policy-Version"] == ref.version
    facts = response.json()
    manifest = bench.store.fetch(ref).manifest
    assert facts["version"] == ref.version
    assert facts["source"] == response.headers["Policy-Source"] == "storage"
    assert (facts["iteration"], facts["phase"], facts["mean_return"]) == (7, "finetune", 12.5)
    assert facts["digest"] == manifest.digest
    assert facts["observation_shape"] == [84, 84, 4]
    assert facts["pipeline"]["frame_skip"] == 4
    assert facts["last_error"] is None
    loaded_at = datetime.fromisoformat(facts["loaded_at"])
    age = (loaded_at - manifest.created_at).total_seconds()
    assert facts["age_s"] == pytest.approx(age, abs=10)


async def test_readiness_is_not_liveness(bench: Bench, publish_policy: PublishPolicy) -> None:
    live = await bench.client.get("/health/live")
    assert live.json()["status"] == "alive"
    body = is_problem(await bench.client.get("/health/ready"), 503, "no-policy")
    assert f"published yet in {bench.store.storage.root}" in body["detail"]
    is_problem(await bench.client.get("/policy"), 503, "no-policy")
    ref = publish_policy(bench.store)
    await bench.ready()
    ready = await bench.client.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json() == {"status": "ready", "policy": ref.version, "source": "storage"}


async def test_the_bundled_policy_is_named_as_such(
    bundled_bench: Bench, fallback: Policy, publish_policy: PublishPolicy
) -> None:
    client = bundled_bench.client
    is_problem(await client.get("/health/ready"), 503, "no-policy")
    bad = publish_policy(bundled_bench.store)
    bundled_bench.store.storage.write(f"{bad.folder}/{WEIGHTS_FILE}", b"torn")
    await bundled_bench.ready()
    ready = await client.get("/health/ready")
    assert ready.json() == {"status": "ready", "policy": fallback.version, "source": "bundled"}
    assert ready.headers["Policy-Source"] == "bundled"
    facts = (await client.get("/policy")).json()
    assert (facts["version"], facts["source"]) == (fallback.version, "bundled")
    assert "4 bytes" in facts["last_error"]
    body = (await client.get("/policies")).json()
    assert (body["loaded"], body["source"]) == (fallback.version, "bundled")
    assert body["bundled"]["digest"] == fallback.manifest.digest
    assert fallback.version not in [policy["version"] for policy in body["policies"]]
    assert set(body["broken"]) == {bad.version}


async def test_what_storage_holds(bench: Bench, publish_policy: PublishPolicy) -> None:
    empty = (await bench.client.get("/policies")).json()
    assert empty == {
        "storage": bench.store.storage.root,
        "follow": "latest",
        "latest": None,
        "best": None,
        "loaded": None,
        "source": None,
        "bundled": None,
        "total": 0,
        "validated": 0,
        "policies": [],
        "broken": {},
    }


async def test_policies_are_listed_newest_first(
    bench: Bench, publish_policy: PublishPolicy
) -> None:
    refs = [publish_policy(bench.store, iteration=number) for number in (1, 2, 3, 4)]
    bench.store.storage.write(f"{refs[0].folder}/{MANIFEST_FILE}", b"{}")
    bench.store.storage.write(f"{refs[3].folder}/{WEIGHTS_FILE}", b"torn")
    await bench.ready()
    response = await bench.client.get("/policies?limit=2")
    body = response.json()
    assert body["loaded"] == refs[2].version == response.headers["Policy-Version"]
    assert body["total"] == 3
    assert [policy["iteration"] for policy in body["policies"]] == [4, 3]
    assert set(body["broken"]) == {refs[0].version, refs[3].version}
    assert "not valid" in body["broken"][refs[0].version]
    assert "4 bytes" in body["broken"][refs[3].version]


async def test_an_unchanged_listing_is_not_sent_again(
    bench: Bench, publish_policy: PublishPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.policies.listing._KEPT_S", 0.0)
    old = publish_policy(bench.store)
    await bench.ready()
    first = await bench.client.get("/policies")
    known = {"If-None-Match": first.headers["ETag"]}
    again = await bench.client.get("/policies", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["Policy-Version"] == first.headers["Policy-Version"]

    newer = publish_policy(bench.store, iteration=2)

    async def lists_both() -> bool:
        changed = await bench.client.get("/policies", headers=known)
        if changed.status_code == 304:
            return False
        listed = [policy["version"] for policy in changed.json()["policies"]]
        return listed == [newer.version, old.version]

    await eventually(lists_both)


async def test_listing_is_bounded_and_beside_the_event_loop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings = 0
    begun, answered = threading.Event(), threading.Event()

    def slow(_: PolicyStore) -> Listing:
        nonlocal listings
        listings += 1
        begun.set()
        assert answered.wait(60)
        return Listing([], {})

    monkeypatch.setattr(PolicyStore, "listing", slow)
    asked = [asyncio.create_task(bench.client.get("/policies")) for _ in range(10)]
    assert await asyncio.to_thread(begun.wait, PATIENCE_S)
    assert (await bench.client.get("/health/live")).status_code == 200
    answered.set()
    assert {response.status_code for response in await asyncio.gather(*asked)} == {200}
    assert listings == 1
    for query in ("limit=0", "limit=101", "page=2"):
        is_problem(await bench.client.get(f"/policies?{query}"), 422, "invalid")


async def test_listing_while_storage_is_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: PolicyStore) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(PolicyStore, "listing", away)
    is_problem(await bench.client.get("/policies"), 503, "storage-away")
