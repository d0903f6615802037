from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.preemption.killed_training import Command, Looks, look_once, reader
from tests.conftest import PublishPolicy
from training.store.layout import LATEST_FILE
from training.store.policies import PolicyStore


def test_a_reader_finds_what_is_broken(tmp_path: Path, publish_policy: PublishPolicy) -> None:
    store = PolicyStore.open(str(tmp_path))
    looks = Looks()
    look_once(store, looks)
    assert looks == Looks(), "there is nothing yet"
    refs = [publish_policy(store, iteration=number) for number in (1, 2)]
    for _ in range(2):
        look_once(store, looks)
    assert (looks.looks, looks.policies, looks.broken) == (2, 4, [])
    store.storage.write(f"{refs[0].folder}/policy.safetensors", b"x")
    for _ in range(2):
        look_once(store, looks)
    assert [fault.startswith(refs[0].version) for fault in looks.broken] == [True]
    store.storage.write(f"{refs[1].folder}/policy.safetensors", b"x")
    look_once(store, looks)
    assert looks.broken[-1].startswith(refs[1].version)
    store.storage.delete_file(LATEST_FILE)
    look_once(store, looks)
    assert "no latest policy" in looks.broken[-1]


def test_a_reader_looks_until_it_is_left(tmp_path: Path, publish_policy: PublishPolicy) -> None:
    store = PolicyStore.open(str(tmp_path))
    looks = Looks()
    with reader(str(tmp_path), looks):
        publish_policy(store)
        while not looks.looks:
            time.sleep(0.01)
    assert looks.policies == 2 * looks.looks
    assert looks.broken == []


def test_a_command_has_variables_of_its_own(tmp_path: Path) -> None:
    program = "import os; print('iteration', os.environ['AWS_ENDPOINT_URL'] + '/9')"
    arguments = [sys.executable, "-c", program]
    begun = Command(arguments, tmp_path / "log", {"AWS_ENDPOINT_URL": "7"})
    try:
        assert begun.wait_for(1)
        assert begun.iterations() == [7]
    finally:
        begun.end()


@contextmanager
def command(folder: Path, *starts: str) -> Iterator[Command]:
    """A command that prints those lines and fails, one at each start; at further ones it trains."""
    folder.joinpath("lines").write_text("".join(f"{line}\n" for line in starts))
    program = """
import sys
import time
from pathlib import Path

file = Path(sys.argv[1])
line, _, left = file.read_text().partition("\\n")
file.write_text(left)
if line:
    sys.exit(line)
print("trial: iteration   1/100000")
"""
    arguments = [sys.executable, "-c", program, str(folder / "lines")]
    begun = Command(arguments, folder / "log")
    try:
        yield begun
    finally:
        begun.end()


SLOW = "Exception: The current node timed out during startup. This could happen because"
NO_GCS = "RuntimeError: Failed to start GCS.  Last 0 lines of error files:"


def test_a_start_at_which_ray_fails_is_repeated(tmp_path: Path) -> None:
    with command(tmp_path, SLOW, NO_GCS) as begun:
        assert begun.wait_for(1)
        assert begun.retries == [
            "The current node timed out during startup",
            "Failed to start GCS",
        ]


@pytest.mark.parametrize("starts", [["trial failed"], [SLOW, "trial failed"]])
def test_any_other_end_is_not_repeated(tmp_path: Path, starts: list[str]) -> None:
    with command(tmp_path, *starts) as begun:
        assert not begun.wait_for(1)
        assert len(begun.retries) == len(starts) - 1


def test_ray_that_never_starts_is_given_up(tmp_path: Path) -> None:
    with command(tmp_path, *[SLOW] * 10) as begun:
        assert not begun.wait_for(1)
        assert len(begun.retries) == 5
