from __future__ import annotations

import gc
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import CurveNotFoundError, PolicyNotFoundError
from app.rendering import films
from app.rendering.film_order import FilmOrder
from app.rendering.render_server import RenderServer
from app.rendering.renderer import CurveEncoding, CurveOrder
from app.settings import SettingsError
from tests.conftest import PublishPolicy
from training.evaluation import curve, rollout
from training.evaluation.progress import ProgressRow, write_progress
from training.store.layout import PROGRESS_FILE, progress_file
from training.store.policies import PolicyStore

pytestmark = pytest.mark.anyio


def table(iterations: int) -> bytes:
    return write_progress(
        ProgressRow(
            trial=trial,
            iteration=number,
            phase="explore" if number <= 3 else "stabilize",
            env_steps=4096 * number,
            return_min=math.nan if number == 1 else -20.0,
            return_mean=math.nan if number == 1 else 10.0 * number + bonus,
            return_max=math.nan if number == 1 else 90.0,
            lr=1e-4,
            entropy_coeff=0.01,
            clip_param=0.2,
            seconds=30.0 * number,
        )
        for trial, bonus in (("trial-1", 0), ("trial-2", 5))
        for number in range(1, iterations + 1)
    )


@pytest.fixture
def server(
    store: PolicyStore, clean_environment: None, monkeypatch: pytest.MonkeyPatch
) -> RenderServer:
    monkeypatch.setenv("CARRACING_STORAGE", store.storage.root)
    return RenderServer()


def test_refused_settings_are_the_only_complaint(
    clean_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARRACING_MAX_BATCH", "-3")
    with pytest.raises(SettingsError):
        RenderServer()
    gc.collect()  # what fails in __del__ is a warning, and with that an error


async def test_films(
    server: RenderServer, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    ref = publish_policy(store)
    digest = store.fetch(ref).manifest.digest
    content = await server.film(FilmOrder(ref.run, ref.version, digest, max_steps=8, width=30))
    assert isinstance(content, bytes)
    assert content.startswith(b"GIF89a")


async def test_curves_of_the_trial_asked_for(server: RenderServer, store: PolicyStore) -> None:
    store.storage.write(progress_file("run-a"), table(6))

    async def drawn(encoding: CurveEncoding, finetune_at: int | None = None) -> bytes:
        content = await server.curve(CurveOrder("run-a", "trial-1", encoding, finetune_at))
        assert isinstance(content, bytes)
        return content

    assert (await drawn("png")).startswith(b"\x89PNG")
    assert b"<svg" in await drawn("svg", 2)
    data = json.loads(await drawn("json"))
    assert data["trial"] == "trial-1"
    assert data["finetune_at"] == 3
    assert data["return_mean"] == [None, 20, 30, 40, 50, 60]
    assert json.loads(await drawn("json", 5))["finetune_at"] == 5


async def test_a_curve_grows_with_its_table_and_is_drawn_once(
    server: RenderServer, store: PolicyStore
) -> None:
    store.storage.write(progress_file("run-a"), table(3))
    short = await server.curve(CurveOrder("run-a", "trial-1", "png"))
    assert await server.curve(CurveOrder("run-a", "trial-1", "png")) is short
    store.storage.write(progress_file("run-a"), table(9))
    assert await server.curve(CurveOrder("run-a", "trial-1", "png")) != short


async def test_the_bundled_curve_is_not_storages(
    server: RenderServer, store: PolicyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.policies.bundled.BUNDLED_FOLDER", tmp_path)
    store.storage.write(progress_file("run-a"), table(6))
    failure = await server.curve(CurveOrder("run-a", "trial-1", "json", source="bundled"))
    assert isinstance(failure, CurveNotFoundError)
    assert "bundled" in str(failure)
    (tmp_path / PROGRESS_FILE).write_bytes(table(3))
    content = await server.curve(CurveOrder("run-a", "trial-1", "json", source="bundled"))
    assert isinstance(content, bytes)
    assert json.loads(content)["iteration"] == [1, 2, 3]


@pytest.mark.parametrize("content", [None, b"", b"a,b\n1,2\n", b"\xff\xff", table(0)])
async def test_no_curve(server: RenderServer, store: PolicyStore, content: bytes | None) -> None:
    if content is not None:
        store.storage.write(progress_file("run-a"), content)
    failure = await server.curve(CurveOrder("run-a", "trial-1", "json"))
    assert isinstance(failure, CurveNotFoundError)
    assert "run-a" in str(failure)


@pytest.mark.skipif(sys.platform != "linux", reason="a priority is a process's, not a thread's")
async def test_what_renders_leaves_cores_to_others(
    server: RenderServer,
    store: PolicyStore,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[int] = []

    def note(function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any, **named: Any) -> Any:
            found.append(os.getpriority(os.PRIO_PROCESS, 0))
            return function(*given, **named)

        return noted

    before = os.getpriority(os.PRIO_PROCESS, 0)
    monkeypatch.setattr(films, "drive", note(rollout.drive))
    monkeypatch.setattr(curve, "curve_data", note(curve.curve_data))
    store.storage.write(progress_file("run-a"), table(3))
    ref = publish_policy(store)
    digest = store.fetch(ref).manifest.digest
    await server.film(FilmOrder(ref.run, ref.version, digest, max_steps=8, width=30))
    await server.curve(CurveOrder("run-a", "trial-1", "json"))
    assert found == [min(19, before + 10)] * 2
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


async def test_films_of_absent_policies(server: RenderServer) -> None:
    failure = await server.film(FilmOrder("run-a", "absent", "0" * 64))
    assert isinstance(failure, PolicyNotFoundError)
