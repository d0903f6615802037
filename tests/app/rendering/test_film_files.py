from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.rendering.film_files import FOLDER, FilmFiles
from app.rendering.film_order import FilmOrder
from training.store.policies import PolicyStore
from training.store.storage import Storage

ORDERS = [FilmOrder("run", "version", "", seed=seed) for seed in range(4)]


def age(store: PolicyStore, order: FilmOrder, seconds: int) -> None:
    """Make a film's file older."""
    name = order.etag.strip('"')
    path = Path(store.storage.at(f"{FOLDER}/{name}.gif"))
    modified = path.stat().st_mtime - seconds
    os.utime(path, (modified, modified))


def test_a_film_is_found_by_another_process(store: PolicyStore) -> None:
    FilmFiles(store.storage, 100).write(ORDERS[0], b"film")
    other = FilmFiles(Storage.open(store.storage.root), 100)
    assert other.read(ORDERS[0]) == b"film"
    assert other.read(ORDERS[1]) is None


def test_the_oldest_are_deleted(store: PolicyStore) -> None:
    files = FilmFiles(store.storage, 8)
    for number, order in enumerate(ORDERS):
        files.write(order, b"film")
        age(store, order, 100 - number)
    assert [files.read(order) for order in ORDERS] == [None, None, b"film", b"film"]
    files.write(ORDERS[0], b"larger than all")
    assert files.read(ORDERS[0]) is None
    assert files.read(ORDERS[3]) == b"film"


def test_without_a_size_nothing_is_stored(store: PolicyStore) -> None:
    FilmFiles(store.storage, 0).write(ORDERS[0], b"film")
    assert not Path(store.storage.at(FOLDER)).exists()


def test_a_root_that_cannot_be_written_is_tried_seldom(
    store: PolicyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def refuse(_: Storage, relative: str, __: bytes) -> None:
        tries.append(relative)
        raise PermissionError("read-only")

    monkeypatch.setattr(Storage, "write", refuse)
    files = FilmFiles(store.storage, 100)
    for order in ORDERS:
        files.write(order, b"film")
    assert len(tries) == 1
