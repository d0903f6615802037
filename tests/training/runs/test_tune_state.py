from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import exists
from tests.training.tune_states import write_tune_state
from training.runs.tune_state import BrokenStateError, has_state, leave_newest_whole
from training.store.storage import Storage

RUN = "runs/run-a"
OLD, NEW = "2026-01-01_10-00-00", "2026-01-01_11-00-00"
EXPERIMENT = f"experiment_state-{NEW}.json"
NAMES = [EXPERIMENT, f"callback-states-{NEW}.pkl", f"basic-variant-state-{NEW}.json"]


def started_twice(root: str) -> Storage:
    storage = Storage.open(root)
    for start in (OLD, NEW):
        write_tune_state(storage, RUN, start)
    return storage


@pytest.fixture
def storage(disk_root: str) -> Storage:
    """A run that was started twice."""
    return started_twice(disk_root)


def test_a_whole_state_is_left_alone(storage: Storage) -> None:
    leave_newest_whole(storage, RUN)
    assert all(exists(storage, f"{RUN}/{name}") for name in NAMES)


def test_a_state_is_put_aside_on_every_kind_of_storage(any_root: str) -> None:
    storage = started_twice(any_root)
    storage.write(f"{RUN}/{EXPERIMENT}", b"{")
    leave_newest_whole(storage, RUN)
    assert not has_state(storage, "runs/other")
    assert not exists(storage, f"{RUN}/{EXPERIMENT}")
    assert exists(storage, f"{RUN}/damaged-{EXPERIMENT}")
    assert exists(storage, f"{RUN}/experiment_state-{OLD}.json")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("keep", [0, -4])
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


Damage = Callable[[dict[str, Any]], None]


def in_trial(part: int, damage: Damage) -> Damage:
    """A damage to a trial's own state (0), or to what is known of its running (1)."""

    def change(state: dict[str, Any]) -> None:
        (trial,) = state["trial_data"]
        own = json.loads(trial[part])
        damage(own)
        trial[part] = json.dumps(own)

    return change


def cut_pickle(name: str) -> Damage:
    def change(state: dict[str, Any]) -> None:
        found = state[name]
        if isinstance(found, str):
            state[name] = found[:-8]
        else:
            found["value"] = found["value"][:-8]

    return change


def flip_bit(name: str) -> Damage:
    """In the pickle's protocol, which is its second byte."""

    def change(state: dict[str, Any]) -> None:
        pickled = bytearray.fromhex(state[name]["value"])
        pickled[1] ^= 1 << 6
        state[name]["value"] = pickled.hex()

    return change


def spoil_digit(name: str) -> Damage:
    """What a flipped bit makes of a hexadecimal digit."""

    def change(state: dict[str, Any]) -> None:
        value = state[name]["value"]
        state[name]["value"] = value[:40] + chr(ord(value[40]) ^ 64) + value[41:]

    return change


def lose(name: str) -> Damage:
    def change(state: dict[str, Any]) -> None:
        del state[name]

    return change


@pytest.mark.parametrize(
    "damage",
    {
        "a cut pickle of the trial": in_trial(0, cut_pickle("placement_group_factory")),
        "a cut pickle in the trial": in_trial(0, cut_pickle("storage")),
        "a bit in the trial's storage": in_trial(0, flip_bit("storage")),
        "a digit in the trial's storage": in_trial(0, spoil_digit("storage")),
        "a trial without a name": in_trial(0, lose("trainable_name")),
        "cut checkpoints": in_trial(1, cut_pickle("checkpoint_manager")),
        "a bit in the checkpoints": in_trial(1, flip_bit("checkpoint_manager")),
        "a digit in the checkpoints": in_trial(1, spoil_digit("checkpoint_manager")),
        "no checkpoints": in_trial(1, lose("checkpoint_manager")),
        "a trial of one half": lambda state: state["trial_data"][0].pop(),
        "a trial that is cut": lambda state: state["trial_data"].__setitem__(0, ["{", "{}"]),
        "a run without a start": lambda state: lose("_session_str")(state["runner_data"]),
    }.items(),
    ids=lambda named: named[0],
)
def test_a_state_that_is_json_and_damaged_within_gives_way_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: tuple[str, Damage]
) -> None:
    storage = started_twice(str(tmp_path))
    state = json.loads(storage.read(f"{RUN}/{EXPERIMENT}"))
    damage[1](state)
    storage.write(f"{RUN}/{EXPERIMENT}", json.dumps(state).encode())
    leave_newest_whole(storage, RUN)
    assert f"put aside: {EXPERIMENT} is damaged" in caplog.text
    assert not exists(storage, f"{RUN}/{EXPERIMENT}")
    assert exists(storage, f"{RUN}/experiment_state-{OLD}.json")


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
    starts = [f"2026-01-02_0{number}-00-00" for number in range(4)]
    for start in starts:
        write_tune_state(storage, RUN, start)
    leave_newest_whole(storage, RUN)
    for name in NAMES:
        kept = [exists(storage, f"{RUN}/{name.replace(NEW, start)}") for start in starts]
        assert kept == [False, True, True, True]
        assert not exists(storage, f"{RUN}/{name}")
