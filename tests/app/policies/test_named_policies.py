"""Requests that name a policy: ``served``, ``latest``, ``best``, ``bundled`` or a version."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from app.policies.watcher import PolicyWatcher
from app.settings import Settings
from tests.app.conftest import INTERVAL_S, NPY, Bench, is_problem, npy, open_bench, pictures
from tests.conftest import PublishPolicy, give_scores
from training.environment.seeds import VALIDATION_SEEDS
from training.policy.acting import Policy
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore

pytestmark = pytest.mark.anyio


class Published(NamedTuple):
    """Three policies of a run."""

    best: PolicyRef
    other: PolicyRef
    latest: PolicyRef

    def named(self, name: str) -> PolicyRef:
        """Which one a service that follows the latest means."""
        return {"best": self.best, self.other.version: self.other}.get(name, self.latest)


@pytest.fixture
async def published(bench: Bench, publish_policy: PublishPolicy) -> Published:
    refs = [publish_policy(bench.store, iteration=number) for number in (1, 2, 3)]
    give_scores(bench.store, {refs[0]: 900.5, refs[1]: 20.0})
    await bench.ready()
    return Published(*refs)


@pytest.fixture(params=["served", "latest", "newest", "best", "a version"])
def name(request: pytest.FixtureRequest, published: Published) -> str:
    return published.other.version if request.param == "a version" else request.param


async def test_a_query_is_decided_by_the_policy_that_it_names(
    bench: Bench, published: Published, name: str
) -> None:
    batch = pictures(2, 84, 84, 4)
    url = f"/act?policy={name}"
    response = await bench.client.post(url, content=npy(batch), headers=NPY)
    ref = published.named(name)
    body = response.json()
    assert response.headers["Policy-Version"] == body["policy"] == ref.version
    offline = Policy.from_published(bench.store.fetch(ref)).act(batch)
    np.testing.assert_allclose(body["actions"], offline, atol=1e-6)


@pytest.mark.parametrize("encoding", ["gif", "webp", "mp4"])
async def test_a_film_of_a_named_policy_has_its_version_in_its_address(
    bench: Bench, published: Published, name: str, encoding: str
) -> None:
    ref = published.named(name)
    options = "max_steps=50&width=200"
    path = f"/{encoding}?policy={name}&seed=7&{options}"
    for asked in (path, f"/gif/{name}/7.{encoding}?{options}"):
        response = await bench.client.get(asked)
        if response.status_code == 200:
            assert name == ref.version
            continue
        assert response.status_code == 307
        assert response.headers["Policy-Version"] == ref.version
        address = response.request.url.join(response.headers["Location"])
        assert address.path == f"/gif/{ref.version}/7.{encoding}"
        assert dict(address.params) == {"max_steps": "50", "width": "200"}


async def test_the_facts_are_those_of_the_policy_that_is_named(
    bench: Bench, published: Published, name: str
) -> None:
    facts = (await bench.client.get(f"/policy?policy={name}")).json()
    assert facts["version"] == published.named(name).version


async def test_an_unknown_policy_is_no_such_policy(bench: Bench, published: Published) -> None:
    content = npy(pictures(84, 84, 4))
    act = await bench.client.post("/act?policy=absent", content=content, headers=NPY)
    for response in (
        act,
        await bench.client.get("/gif?policy=absent"),
        await bench.client.get("/policy?policy=absent"),
    ):
        is_problem(response, 404, "no-such-policy")
    invalid = await bench.client.post("/act?policy=../x", content=content, headers=NPY)
    is_problem(invalid, 422, "invalid")


async def test_the_list_tells_scores_and_which_policies_have_the_names(
    bench: Bench, published: Published
) -> None:
    body = (await bench.client.get("/policies")).json()
    assert (body["follow"], body["latest"], body["best"], body["loaded"]) == (
        "latest",
        published.latest.version,
        published.best.version,
        published.latest.version,
    )
    assert body["validated"] == 2
    validations = {each["version"]: each["validation"] for each in body["policies"]}
    assert validations == {
        published.latest.version: None,
        published.other.version: {"mean": 20.0, "episodes": 1, "seeds": [VALIDATION_SEEDS[0]]},
        published.best.version: {"mean": 900.5, "episodes": 1, "seeds": [VALIDATION_SEEDS[0]]},
    }


async def test_a_service_that_follows_the_best_serves_it(
    settings: Settings, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    best, latest = (publish_policy(store, iteration=number) for number in (1, 2))
    give_scores(store, {best: 900.0, latest: 10.0})
    watcher = PolicyWatcher(store, INTERVAL_S, follow="best")
    async with open_bench(settings, store, watcher) as bench:
        await bench.ready()
        body = (await bench.client.get("/policies")).json()
        assert (body["follow"], body["loaded"]) == ("best", best.version)
        for name, ref in {"served": best, "best": best, "latest": latest}.items():
            facts = (await bench.client.get(f"/policy?policy={name}")).json()
            assert facts["version"] == ref.version
