from __future__ import annotations

import asyncio
import dataclasses
import io
import logging
from contextvars import ContextVar

import numpy as np
import pytest
from PIL import Image

from app.errors import OverloadedError
from app.metrics import FilmCounts
from app.parameters import SEED_LIMIT
from app.policies.storage_reader import StorageReader
from app.rendering import films
from app.rendering.film_order import FilmOrder
from app.rendering.films import FilmRenderer
from tests.app.conftest import eventually
from tests.app.rendering.conftest import FRAMES
from training.evaluation.rollout import Shot, drive
from training.policy.acting import Policy
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore

pytestmark = pytest.mark.anyio


def pictures_of(content: bytes) -> list[np.ndarray]:
    with Image.open(io.BytesIO(content)) as film:
        frames = []
        for number in range(getattr(film, "n_frames", 1)):
            film.seek(number)
            frames.append(np.asarray(film.convert("RGB")))
    return frames


async def test_a_film_shows_the_drive(
    renderer: FilmRenderer, order: FilmOrder, store: PolicyStore, ref: PolicyRef
) -> None:
    order = dataclasses.replace(order, width=600, fps=50)
    shown = pictures_of(await renderer.film(order))
    shots: list[Shot] = []
    policy = Policy.from_published(store.fetch(ref))
    drive(policy, 5, simulator="fast", max_frames=FRAMES, film_fps=50, shoot=shots.append)
    assert len(shown) == len(shots)
    difference = np.abs(shown[-1].astype(int) - shots[-1].picture)
    assert difference.mean() < 3


async def test_the_same_order_gives_the_same_bytes(store: PolicyStore, order: FilmOrder) -> None:
    contents = []
    for _ in range(2):
        renderer = FilmRenderer(
            store, StorageReader(store.storage.root), max_waiting=1, cache_bytes=0
        )
        contents.append(await renderer.film(order))
        renderer.close()
    assert contents[0] == contents[1]


@pytest.mark.parametrize("seed", [5, SEED_LIMIT])
async def test_episodes_are_driven_on_the_seeds_that_follow(
    renderer: FilmRenderer, order: FilmOrder, seed: int
) -> None:
    order = dataclasses.replace(order, seed=seed)
    both = pictures_of(await renderer.film(dataclasses.replace(order, episodes=2)))
    first = pictures_of(await renderer.film(order))
    second = pictures_of(await renderer.film(dataclasses.replace(order, seed=order.seed + 1)))
    np.testing.assert_array_equal(np.stack(both), np.stack(first + second))


async def test_webp(renderer: FilmRenderer, order: FilmOrder) -> None:
    content = await renderer.film(dataclasses.replace(order, encoding="webp"))
    assert content[:4] + content[8:12] == b"RIFFWEBP"


async def test_equal_orders_at_once_cost_one_render(
    renderer: FilmRenderer, counts: FilmCounts, order: FilmOrder
) -> None:
    contents = await asyncio.gather(*(renderer.film(order) for _ in range(50)))
    assert len(set(contents)) == 1
    assert counts.rendered == 1
    await renderer.film(order)
    assert counts.rendered == 1


async def test_what_is_done_is_reported(store: PolicyStore, order: FilmOrder) -> None:
    told: list[FilmCounts] = []
    renderer = FilmRenderer(
        store,
        StorageReader(store.storage.root),
        max_waiting=2,
        cache_bytes=10_000_000,
        report=lambda counts: told.append(dataclasses.replace(counts)),
    )
    contents = await asyncio.gather(renderer.film(order), renderer.film(order))
    await renderer.film(order)
    size = len(contents[0])
    assert told == [
        FilmCounts(waiting=1, misses=1),
        FilmCounts(waiting=1, misses=1, joined=1),
        FilmCounts(rendered=1, misses=1, joined=1, cache_bytes=size),
        FilmCounts(rendered=1, misses=1, joined=1, cache_bytes=size, hits=1),
    ]
    long = dataclasses.replace(order, seed=9, max_steps=1000, episodes=20)
    leaving = asyncio.create_task(renderer.film(long))

    async def waits() -> bool:
        return told[-1].waiting == 1

    await eventually(waits)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert told[-1].waiting == 0
    renderer.close()


async def test_what_is_logged_is_of_the_request_that_asked(
    renderer: FilmRenderer, order: FilmOrder
) -> None:
    request: ContextVar[str] = ContextVar("request")
    logged: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(request.get("nobody's"))

    handler = Handler()
    films.logger.addHandler(handler)
    films.logger.setLevel("INFO")
    try:
        request.set("first")
        await renderer.film(order)
    finally:
        films.logger.removeHandler(handler)
        films.logger.setLevel(logging.NOTSET)
    assert logged == ["first"]


async def test_too_many_different_orders_are_refused(
    renderer: FilmRenderer, order: FilmOrder
) -> None:
    orders = [dataclasses.replace(order, seed=seed) for seed in range(5)]
    results = await asyncio.gather(*map(renderer.film, orders), return_exceptions=True)
    assert [type(result) for result in results] == [
        bytes,
        bytes,
        bytes,
        OverloadedError,
        OverloadedError,
    ]
    assert isinstance(await renderer.film(orders[4]), bytes)


async def test_a_film_that_nobody_waits_for_is_given_up(
    renderer: FilmRenderer, counts: FilmCounts, order: FilmOrder
) -> None:
    long = dataclasses.replace(order, max_steps=1000, episodes=20)
    waiting = [asyncio.create_task(renderer.film(long)) for _ in range(2)]
    await asyncio.sleep(0.2)
    for task in waiting:
        task.cancel()
    assert await asyncio.gather(*waiting, return_exceptions=True)
    await renderer.film(order)  # behind it in the only thread
    assert counts.rendered == 1


async def test_one_who_leaves_does_not_take_the_film_along(
    renderer: FilmRenderer, counts: FilmCounts, order: FilmOrder
) -> None:
    leaving = asyncio.create_task(renderer.film(order))
    staying = asyncio.create_task(renderer.film(order))
    await asyncio.sleep(0.02)
    leaving.cancel()
    assert (await staying).startswith(b"GIF89a")
    assert counts.rendered == 1
