"""One process at a time trains a run; the command itself is in test_train_again.py."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from training.runs.lock import LOCK_FILE, RunLock, RunLockedError, Timing
from training.store.storage import Storage, StorageError

FOLDER = "runs/a"
FAST = Timing(renew=0.01, expire=0.2, settle=0.0, poll=0.01)
PATIENT = Timing(renew=0.01, expire=300.0, settle=0.0, poll=0.01)
"""For what must not depend on how busy the machine is."""


@pytest.fixture
def root(any_root: str) -> Storage:
    """An empty root on every kind of storage in turn."""
    return Storage.open(any_root)


def lease(root: Storage) -> dict[str, object]:
    found: dict[str, object] = json.loads(root.read(f"{FOLDER}/{LOCK_FILE}"))
    return found


def hold(lock: RunLock) -> None:
    with lock.held():
        pass


def is_lost(lock: RunLock) -> bool:
    try:
        lock.raise_if_lost()
    except RunLockedError:
        return True
    return False


def write_lease(root: Storage, **fields: object) -> None:
    """A lease of a process on another machine."""
    other = {"owner": "b", "host": "elsewhere", "pid": 7, "process_file": "/tmp/b.lock"}
    root.write(f"{FOLDER}/{LOCK_FILE}", json.dumps(other | fields).encode())


def test_a_second_process_is_refused_and_told_by_whom(root: Storage) -> None:
    with RunLock(root, FOLDER, timing=PATIENT).held():
        with pytest.raises(RunLockedError) as refusal:
            hold(RunLock(root, FOLDER))
        assert f"process {lease(root)['pid']} on" in str(refusal.value)
        assert "--run-name" in str(refusal.value)


def test_another_run_is_not_locked(root: Storage) -> None:
    with RunLock(root, FOLDER, timing=FAST).held():
        hold(RunLock(root, "runs/b", timing=FAST))


def test_it_is_free_again_after_an_error(root: Storage) -> None:
    with pytest.raises(ZeroDivisionError), RunLock(root, FOLDER, timing=FAST).held():
        raise ZeroDivisionError
    assert root.files(FOLDER) == []
    with RunLock(root, FOLDER, timing=FAST).held():
        assert root.files(FOLDER) == [LOCK_FILE]


def test_a_killed_process_leaves_no_stale_lock(tmp_path: Path) -> None:
    program = """
import sys, time
from training.runs.lock import RunLock
from training.store.storage import Storage
with RunLock(Storage.open(sys.argv[1]), "runs/a").held():
    print("held", flush=True)
    time.sleep(1e6)
"""
    root = Storage.open(str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"held\n"
        with pytest.raises(RunLockedError, match=f"process {owner.pid} on"):
            hold(RunLock(root, FOLDER, timing=PATIENT))
        owner.kill()
    # It would wait for five minutes for a process of another machine.
    with RunLock(root, FOLDER, timing=PATIENT).held():
        assert lease(root)["pid"] != owner.pid


def test_a_process_of_another_machine_that_renews_is_not_disturbed(root: Storage) -> None:
    write_lease(root)
    ended = threading.Event()

    def renew() -> None:
        renewals = 0
        while not ended.wait(0.01):
            renewals += 1
            write_lease(root, renewals=renewals)

    owner = threading.Thread(target=renew)
    owner.start()
    try:
        with pytest.raises(RunLockedError, match="process 7 on elsewhere"):
            hold(RunLock(root, FOLDER, timing=PATIENT))
    finally:
        ended.set()
        owner.join()


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]"])
def test_a_lease_that_nobody_renews_is_taken_over(tmp_path: Path, content: bytes | None) -> None:
    root = Storage.open(str(tmp_path))
    write_lease(root)
    if content is not None:
        root.write(f"{FOLDER}/{LOCK_FILE}", content)
    lock = RunLock(root, FOLDER, timing=FAST)
    with lock.held():
        assert lease(root)["owner"] != "b"
        lock.raise_if_lost()


def test_who_lost_the_run_is_told_and_leaves_the_lease_alone(root: Storage) -> None:
    """It was suspended, or storage was away from it, for longer than its lease is valid."""
    lock = RunLock(root, FOLDER, timing=FAST)
    with lock.held():
        while not is_lost(lock):
            # Again where a renewal was under way.
            if lease(root)["owner"] != "b":
                write_lease(root)
        with pytest.raises(RunLockedError, match="process 7 on elsewhere"):
            lock.raise_if_lost()
    assert lease(root)["owner"] == "b"


def test_of_many_that_begin_at_once_one_goes_on(tmp_path: Path) -> None:
    root = Storage.open(str(tmp_path))
    count = 8
    together = threading.Barrier(count)
    timing = Timing(renew=0.01, expire=300.0, settle=0.5, poll=0.01)
    held: list[RunLock] = []
    stack = ExitStack()

    def begin(lock: RunLock) -> None:
        together.wait()
        with suppress(RunLockedError):
            stack.enter_context(lock.held())
            held.append(lock)

    locks = [RunLock(root, FOLDER, timing=timing) for _ in range(count)]
    threads = [threading.Thread(target=begin, args=(lock,)) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with stack:
        # One that was slow to write may be told only when it renews.
        while len([lock for lock in held if not is_lost(lock)]) > 1:
            time.sleep(0.01)
        assert [lock for lock in held if not is_lost(lock)]


def test_storage_that_is_away_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file")
    root = Storage.open(str(tmp_path / "root"))
    with pytest.raises(StorageError, match="root"):
        hold(RunLock(root, FOLDER, timing=FAST))
