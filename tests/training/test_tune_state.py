from __future__ import annotations

import json
import logging
import pickle

import pytest

from tests.conftest import exists
from training.storage import Storage
from training.tune_state import BrokenStateError, has_state, leave_newest_whole

RUN = "runs/run-a"
OLD, NEW = "2026-01-01_10-00-00", "2026-01-01_11-00-00"
FILES = {
    "experiment_state-{}.json": json.dumps({"trial_data": [["{}", "{}"]], "runner_data": {"a": 1}}),
    "callback-states-{}.pkl": pickle.dumps({0: {"best": {}}}).decode("latin-1"),
    "basic-variant-state-{}.json": pickle.dumps({"counter": 1}).decode("latin-1"),
}
NAMES = [name.format(NEW) for name in FILES]


@pytest.fixture
def storage(any_root: str) -> Storage:
    """A run that was started twice."""
    storage = Storage.open(any_root)
    for start in (OLD, NEW):
        for name, content in FILES.items():
            storage.write(f"{RUN}/{name.format(start)}", content.encode("latin-1"))
    return storage


def test_a_whole_state_is_left_alone(storage: Storage) -> None:
    leave_newest_whole(storage, RUN)
    assert all(exists(storage, f"{RUN}/{name}") for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("keep", [0, 10, -4])
def test_a_state_that_was_cut_short_gives_way_to_the_one_before(
    storage: Storage, name: str, keep: int, caplog: pytest.LogCaptureFixture
) -> None:
    content = storage.read(f"{RUN}/{name}")
    storage.write(f"{RUN}/{name}", content[:keep])
    with caplog.at_level(logging.WARNING):
        leave_newest_whole(storage, RUN)
    assert f"put aside: {name} is damaged" in caplog.text
    for of_the_same_start in NAMES:
        assert not exists(storage, f"{RUN}/{of_the_same_start}")
        assert exists(storage, f"{RUN}/damaged-{of_the_same_start}")
    assert exists(storage, f"{RUN}/experiment_state-{OLD}.json")


@pytest.mark.parametrize("name", NAMES)
def test_a_state_without_one_of_its_files_gives_way_too(storage: Storage, name: str) -> None:
    storage.filesystem.delete_file(storage.at(f"{RUN}/{name}"))
    leave_newest_whole(storage, RUN)
    assert not exists(storage, f"{RUN}/experiment_state-{NEW}.json")


@pytest.mark.parametrize("document", ["[]", "{}", '{"trial_data": [], "runner_data": {"a": 1}}'])
def test_a_state_of_nothing_is_damaged(storage: Storage, document: str) -> None:
    storage.write(f"{RUN}/{NAMES[0]}", document.encode())
    leave_newest_whole(storage, RUN)
    assert not exists(storage, f"{RUN}/{NAMES[0]}")


def test_where_none_is_whole_all_reasons_are_told_and_nothing_is_moved(storage: Storage) -> None:
    for start in (OLD, NEW):
        storage.write(f"{RUN}/experiment_state-{start}.json", b"{")
    with pytest.raises(BrokenStateError, match=rf"{NEW}.*damaged.*; .*{OLD}.*damaged"):
        leave_newest_whole(storage, RUN)
    assert exists(storage, f"{RUN}/experiment_state-{NEW}.json")


def test_the_newest_three_are_kept(storage: Storage) -> None:
    for number in range(4):
        for name, content in FILES.items():
            start = f"2026-01-02_0{number}-00-00"
            storage.write(f"{RUN}/{name.format(start)}", content.encode("latin-1"))
    leave_newest_whole(storage, RUN)
    for name in FILES:
        kept = [exists(storage, f"{RUN}/{name.format(f'2026-01-02_0{n}-00-00')}") for n in range(4)]
        assert kept == [False, True, True, True]
        assert not exists(storage, f"{RUN}/{name.format(NEW)}")


def test_a_run_has_a_state_or_has_none(storage: Storage) -> None:
    assert has_state(storage, RUN)
    assert not has_state(storage, "runs/other")
