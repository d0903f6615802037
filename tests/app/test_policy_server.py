from __future__ import annotations

import asyncio
import pickle
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError

from app.films import BusyError, FilmOrder
from app.policy_server import PolicyServer, RemoteRenderer
from app.renderer import RENDER_FAILURES, Renderer
from tests.conftest import PublishPolicy
from training.store import PolicyStore

pytestmark = pytest.mark.anyio

ORDER = FilmOrder("run", "version", "0" * 64)


class Handle:
    """Answers as a Serve handle does, with a result or an error."""

    def __init__(self, result: bytes | Exception, *, raises: bool = False) -> None:
        self._result = result
        self._raises = raises
        self.film = self.curve = SimpleNamespace(remote=self._remote)
        self.calls: list[tuple[Any, ...]] = []

    def _remote(self, *arguments: Any) -> asyncio.Future[bytes | Exception]:
        self.calls.append(arguments)
        response: asyncio.Future[bytes | Exception] = asyncio.Future()
        if self._raises and isinstance(self._result, Exception):
            response.set_exception(self._result)
        else:
            response.set_result(self._result)
        return response


async def test_orders_are_passed_on() -> None:
    handle = Handle(b"picture")
    renderer: Renderer = RemoteRenderer(handle)
    assert await renderer.film(ORDER) == b"picture"
    assert await renderer.curve("run", "trial", "svg", 3, "bundled") == b"picture"
    assert handle.calls == [(ORDER,), ("run", "trial", "svg", 3, "bundled")]


@pytest.mark.parametrize("failure", [error("why") for error in RENDER_FAILURES])
async def test_failures_that_are_answers_are_raised_here(failure: Exception) -> None:
    with pytest.raises(type(failure), match="why"):
        await RemoteRenderer(Handle(pickle.loads(pickle.dumps(failure)))).film(ORDER)


@pytest.mark.parametrize("error", [BackPressureError(9, 8), RayActorError()])
async def test_a_renderer_that_is_full_or_dead_is_busy(error: Exception) -> None:
    with pytest.raises(BusyError):
        await RemoteRenderer(Handle(error, raises=True)).curve("run", "trial", "png", None)


class Unanswered:
    """A Serve response that never comes; to stop awaiting it alone cancels nothing."""

    cancelled = False

    def __await__(self) -> Generator[Any, None, None]:
        return asyncio.sleep(60).__await__()

    def cancel(self) -> None:
        self.cancelled = True


async def test_a_film_that_is_given_up_here_is_given_up_there() -> None:
    response = Unanswered()
    handle = SimpleNamespace(film=SimpleNamespace(remote=lambda _: response))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await RemoteRenderer(handle).film(ORDER)
    assert response.cancelled


async def test_health_is_the_watchers_and_not_storages(
    store: PolicyStore,
    clean_environment: None,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CARRACING_STORAGE", store.storage.root)
    monkeypatch.setenv("CARRACING_POLL_INTERVAL_S", "0.1")
    monkeypatch.setenv("CARRACING_BUNDLED", "0")  # else the start waits for storage
    server = PolicyServer(Handle(b""))
    with pytest.raises(RuntimeError, match="thread has ended"):
        await server.check_health()
    monkeypatch.setattr(PolicyStore, "latest_ref", lambda _: open("/nowhere/at/all"))  # noqa: PTH123, SIM115
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
    api = PolicyServer(Handle(b"")).__serve_build_asgi_app__()
    async with (
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://car.test") as client,
    ):
        response = await client.get("/health/ready")
    assert response.status_code == status
    assert response.headers.get("Policy-Source") == ("bundled" if status == 200 else None)


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
    monkeypatch.setattr("app.bundled.FOLDER", tmp_path)
    api = PolicyServer(Handle(b"")).__serve_build_asgi_app__()
    assert "the bundled policy cannot be used" in caplog.text
    async with (
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://car.test") as client,
    ):
        response = await client.get("/health/ready")
    assert response.json() == {"status": "ready", "policy": ref.version, "source": "storage"}
