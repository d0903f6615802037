from __future__ import annotations

from pathlib import Path

from benchmarks.killed_training import Looks, look_once
from tests.conftest import PublishPolicy
from training.store import PolicyStore


def test_a_reader_finds_what_is_broken(tmp_path: Path, publish_policy: PublishPolicy) -> None:
    store = PolicyStore.open(str(tmp_path))
    looks = Looks()
    look_once(tmp_path, looks)
    assert looks == Looks(), "there is nothing yet"
    refs = [publish_policy(store, iteration=number) for number in (1, 2)]
    for _ in range(2):
        look_once(tmp_path, looks)
    assert (looks.looks, looks.policies, looks.broken) == (2, 4, [])
    store.storage.write(f"{refs[0].folder}/policy.safetensors", b"x")
    for _ in range(2):
        look_once(tmp_path, looks)
    assert [fault.startswith(refs[0].version) for fault in looks.broken] == [True]
    store.storage.write(f"{refs[1].folder}/policy.safetensors", b"x")
    look_once(tmp_path, looks)
    assert "no usable policy" in looks.broken[-1]
