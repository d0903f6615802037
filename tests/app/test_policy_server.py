from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from app.policy_server import PolicyServer
from tests.conftest import PublishPolicy, give_scores
from training.store.policies import PolicyStore
from training.store.storage import Storage

pytestmark = pytest.mark.anyio


async def test_health_is_the_watchers_and_not_storages(
    store: PolicyStore,
    clean_environment: None,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CARRACING_STORAGE", store.storage.root)
    monkeypatch.setenv("CARRACING_POLL_INTERVAL_S", "0.1")
    monkeypatch.setenv("CARRACING_BUNDLED", "0")  # else the start waits for storage
    server = PolicyServer(None)
    with pytest.raises(RuntimeError, match="thread has ended"):
        await server.check_health()

    def away(*_: object) -> bytes:
        raise ConnectionError("no route")

    monkeypatch.setattr(Storage, "read", away)
    api = server.__serve_build_asgi_app__()
    async with api.router.lifespan_context(api):
        await server.check_health()
    with pytest.raises(RuntimeError, match="thread has ended"):
        await server.check_health()


@pytest.mark.parametrize(("setting", "status"), [("1", 200), ("0", 503)])
async def test_the_bundled_policy_is_served_unless_it_is_turned_off(
    store: PolicyStore,
    clean_environment: None,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    status: int,
) -> None:
    monkeypatch.setenv("CARRACING_STORAGE", store.storage.root)
    monkeypatch.setenv("CARRACING_BUNDLED", setting)
    api = PolicyServer(None).__serve_build_asgi_app__()
    async with (
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://car.test") as client,
    ):
        response = await client.get("/health/ready")
    assert response.status_code == status
    assert response.headers.get("Policy-Source") == ("bundled" if status == 200 else None)


async def test_the_setting_decides_which_policy_is_followed(
    store: PolicyStore,
    publish_policy: PublishPolicy,
    clean_environment: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    best, latest = (publish_policy(store, iteration=number) for number in (1, 2))
    give_scores(store, {best: 900.0})
    monkeypatch.setenv("CARRACING_STORAGE", store.storage.root)
    for follow, ref in {"": latest, "latest": latest, "best": best}.items():
        monkeypatch.setenv("CARRACING_FOLLOW", follow)
        api = PolicyServer(None).__serve_build_asgi_app__()
        transport = httpx.ASGITransport(api)
        async with (
            api.router.lifespan_context(api),
            httpx.AsyncClient(transport=transport, base_url="http://car.test") as client,
        ):
            assert (await client.get("/health/ready")).json()["policy"] == ref.version


async def test_a_bundled_policy_that_is_not_whole_is_done_without(
    store: PolicyStore,
    publish_policy: PublishPolicy,
    clean_environment: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ref = publish_policy(store)
    monkeypatch.setenv("CARRACING_STORAGE", store.storage.root)
    monkeypatch.setattr("app.policies.bundled.BUNDLED_FOLDER", tmp_path)
    api = PolicyServer(None).__serve_build_asgi_app__()
    assert "the bundled policy cannot be used" in caplog.text
    async with (
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://car.test") as client,
    ):
        response = await client.get("/health/ready")
    assert response.json() == {"status": "ready", "policy": ref.version, "source": "storage"}
