"""Fixtures of films: a policy, an order and a renderer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.metrics import FilmCounts
from app.policies.storage_reader import StorageReader
from app.rendering.film_order import FilmOrder
from app.rendering.films import FilmRenderer
from tests.conftest import PublishPolicy
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore

FRAMES = 24
"""Simulator frames of a film."""


@pytest.fixture
def ref(store: PolicyStore, publish_policy: PublishPolicy) -> PolicyRef:
    return publish_policy(store)


@pytest.fixture
def order(store: PolicyStore, ref: PolicyRef) -> FilmOrder:
    digest = store.fetch(ref).manifest.digest
    return FilmOrder(ref.run, ref.version, digest, seed=5, max_steps=FRAMES, width=60)


@pytest.fixture
def counts() -> FilmCounts:
    """The renderer's counts at the moment."""
    return FilmCounts()


@pytest.fixture
def renderer(store: PolicyStore, counts: FilmCounts) -> Iterator[FilmRenderer]:
    def report(new: FilmCounts) -> None:
        vars(counts).update(vars(new))

    reader = StorageReader(store.storage.root)
    renderer = FilmRenderer(store, reader, max_waiting=2, cache_bytes=10_000_000, report=report)
    yield renderer
    renderer.close()
    reader.close()
