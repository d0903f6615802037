from __future__ import annotations

import asyncio
import pickle
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError

from app.errors import OverloadedError, PolicyNotFoundError, StorageUnavailableError
from app.rendering.film_order import FilmOrder
from app.rendering.remote_renderer import RemoteRenderer
from app.rendering.renderer import RENDER_ERRORS, CurveOrder, Renderer
from tests.conftest import build_policy
from training.policy.published import PublishedPolicy

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
    curve = CurveOrder("run", "trial", "svg", 3, "bundled")
    assert await renderer.curve(curve) == b"picture"
    assert handle.calls == [(ORDER,), (curve,)]


class Forgetful:
    """A handle to a renderer that has only what comes with an order, and no storage."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.calls: list[tuple[Any, ...]] = []
        self.film = SimpleNamespace(remote=self._remote)

    def _remote(self, *arguments: Any) -> asyncio.Future[bytes | Exception]:
        self.calls.append(arguments)
        response: asyncio.Future[bytes | Exception] = asyncio.Future()
        response.set_result(b"film" if len(arguments) > 1 else self._error)
        return response


@pytest.fixture
def files() -> PublishedPolicy:
    policy = build_policy()
    return PublishedPolicy(policy.manifest, policy.weights)


async def test_files_are_not_sent_to_a_renderer_that_can_have_the_policy(
    files: PublishedPolicy,
) -> None:
    handle = Handle(b"film")
    assert await RemoteRenderer(handle).film(ORDER, files) == b"film"
    assert handle.calls == [(ORDER,)]


@pytest.mark.parametrize("error", [StorageUnavailableError("away"), PolicyNotFoundError("gone")])
async def test_files_are_sent_if_the_renderer_cannot_load_the_policy(
    files: PublishedPolicy, error: Exception
) -> None:
    handle = Forgetful(error)
    renderer = RemoteRenderer(handle)
    assert await renderer.film(ORDER, files) == b"film"
    assert handle.calls == [(ORDER,), (ORDER, files)]
    with pytest.raises(type(error)):
        await renderer.film(ORDER)


@pytest.mark.parametrize("failure", [error("why") for error in RENDER_ERRORS])
async def test_failures_that_are_answers_are_raised_here(failure: Exception) -> None:
    with pytest.raises(type(failure), match="why"):
        await RemoteRenderer(Handle(pickle.loads(pickle.dumps(failure)))).film(ORDER)


@pytest.mark.parametrize("error", [BackPressureError(9, 8), RayActorError()])
async def test_a_renderer_that_is_full_or_dead_is_busy(error: Exception) -> None:
    with pytest.raises(OverloadedError):
        await RemoteRenderer(Handle(error, raises=True)).curve(CurveOrder("run", "trial", "png"))


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
