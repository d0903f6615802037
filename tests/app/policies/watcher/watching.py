"""What tests of the watcher look with."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter

from training.policy.manifest import WEIGHTS_FILE
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore
from training.store.storage import Storage


def damage(store: PolicyStore, ref: PolicyRef) -> None:
    path = f"{ref.folder}/{WEIGHTS_FILE}"
    content = store.storage.read(path)
    store.storage.write(path, content[:-1] + bytes([content[-1] ^ 1]))


@dataclasses.dataclass(frozen=True)
class CountingStorage(Storage):
    """Counts what is read, can be away, and answers only while its lock is free."""

    reads: Counter[str] = dataclasses.field(default_factory=Counter)
    away: threading.Event = dataclasses.field(default_factory=threading.Event)
    answering: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def read(self, relative: str) -> bytes:
        self.reads[relative] += 1
        with self.answering:
            pass
        if self.away.is_set():
            raise OSError("the bucket does not answer")
        return super().read(relative)

    def folders(self, relative: str) -> list[str]:
        self.reads[f"list {relative}"] += 1
        return super().folders(relative)
