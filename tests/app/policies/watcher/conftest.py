from __future__ import annotations

from pathlib import Path

import pytest

from tests.app.policies.watcher.watching import CountingStorage
from training.store.policies import PolicyStore
from training.store.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> CountingStorage:
    plain = Storage.open(str(tmp_path / "store"))
    return CountingStorage(plain.root, plain.filesystem, plain.path)


@pytest.fixture
def store(storage: CountingStorage) -> PolicyStore:
    return PolicyStore(storage)
