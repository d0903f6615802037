from __future__ import annotations

import pytest

from app.errors import CurveNotFoundError, OverloadedError, StorageUnavailableError
from app.rendering.renderer import CurveEncoding, CurveOrder
from tests.app.conftest import Bench, get_until, is_problem
from tests.conftest import PublishPolicy
from training.policy.acting import Policy
from training.store.layout import PolicyRef

pytestmark = pytest.mark.anyio

CURVES = {
    "/curve.png": "image/png",
    "/curve.svg": "image/svg+xml",
    "/curve.json": "application/json",
}


@pytest.fixture
async def ref(bench: Bench, publish_policy: PublishPolicy) -> PolicyRef:
    ref = publish_policy(bench.store, run="run-b")
    await bench.ready()
    return ref


@pytest.mark.parametrize("encoding", ["png", "svg", "json"])
async def test_the_curve_of_the_policys_trial(
    bench: Bench, ref: PolicyRef, encoding: CurveEncoding
) -> None:
    path = f"/curve.{encoding}"
    response = await bench.client.get(f"{path}?finetune_at=500")
    assert response.status_code == 200
    assert response.content == b"curve run-b"
    assert response.headers["Content-Type"] == CURVES[path]
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["Policy-Version"] == ref.version
    assert bench.renderer.curves == [CurveOrder("run-b", "trial-1", encoding, 500)]
    known = {"If-None-Match": response.headers["ETag"]}
    assert (await bench.client.get(path, headers=known)).status_code == 304


@pytest.mark.parametrize("path", CURVES)
async def test_no_curve(bench: Bench, ref: PolicyRef, path: str) -> None:
    bench.renderer.error = CurveNotFoundError("run run-b has no table of its progress")
    assert "run-b" in is_problem(await bench.client.get(path), 404, "no-curve")["detail"]
    bench.renderer.error = OverloadedError("later")
    is_problem(await bench.client.get(path), 503, "busy")
    bench.renderer.error = StorageUnavailableError("no route")
    is_problem(await bench.client.get(path), 503, "storage-away")


@pytest.mark.parametrize("query", ["finetune_at=0", "finetune_at=x", "trial=other"])
async def test_curves_out_of_bounds(bench: Bench, ref: PolicyRef, query: str) -> None:
    is_problem(await bench.client.get(f"/curve.png?{query}"), 422, "invalid")


@pytest.mark.parametrize("path", CURVES)
async def test_without_a_policy(bench: Bench, path: str) -> None:
    is_problem(await bench.client.get(path), 503, "no-policy")


async def test_the_bundled_curve_until_storage_has_a_policy(
    bundled_bench: Bench, fallback: Policy, publish_policy: PublishPolicy
) -> None:
    await bundled_bench.ready()
    client, renderer = bundled_bench.client, bundled_bench.renderer
    curve = await client.get("/curve.json")
    assert curve.headers["Policy-Source"] == "bundled"
    assert renderer.curves == [CurveOrder("run-0", "trial-1", "json", source="bundled")]

    newer = publish_policy(bundled_bench.store, run="run-b")
    await get_until(bundled_bench, "/curve.json", newer.version)
    assert renderer.curves[-1] == CurveOrder("run-b", "trial-1", "json")
