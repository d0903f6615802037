from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pyarrow import fs

from training.runs.whole_checkpoint import LIST_FILE, BrokenCheckpointError, read_list, seal, verify
from training.store.storage import Storage

LOCAL = fs.LocalFileSystem()
FILES = {"rllib_checkpoint.json": b"{}", "learner/state.pkl": b"\x80\x05" * 500, "empty": b""}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A whole one, taken after iteration 8."""
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    seal(
        tmp_path,
        8,
        {
            "training_iteration": 8,
            "return_mean": math.nan,
            "lr": np.float32(0.5),
            "steps": np.int64(7),
            "phase": "explore",
            "done": False,
            "config": {"much": 1},
        },
    )
    return tmp_path


def refusal(folder: Path) -> str:
    with pytest.raises(BrokenCheckpointError) as refused:
        verify(LOCAL, str(folder))
    return str(refused.value)


def test_a_whole_checkpoint_tells_its_files_and_its_result(checkpoint: Path) -> None:
    listed = verify(LOCAL, str(checkpoint))
    assert listed.files.keys() == FILES.keys()
    assert listed.iteration == 8
    assert math.isnan(float(listed.result.pop("return_mean") or 0))
    assert listed.result == {
        "training_iteration": 8,
        "lr": 0.5,
        "steps": 7,
        "phase": "explore",
        "done": False,
    }
    assert isinstance(listed.result["steps"], int)


@pytest.mark.parametrize("name", [*FILES, LIST_FILE])
def test_a_file_that_is_missing_is_named(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink()
    assert name in refusal(checkpoint)


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def nothing(content: bytes) -> bytes:
    return b""


def one_bit(content: bytes) -> bytes:
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("name", ["rllib_checkpoint.json", "learner/state.pkl", LIST_FILE])
@pytest.mark.parametrize("damage", [half, nothing, one_bit])
def test_a_file_that_is_damaged_is_named(
    checkpoint: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    (checkpoint / name).write_bytes(damage((checkpoint / name).read_bytes()))
    assert name in refusal(checkpoint)


@pytest.mark.parametrize(
    "document", [[], {}, {"list": {}, "sha256": ""}, {"list": {"iteration": -1}, "sha256": "0"}]
)
def test_a_list_of_something_else_is_refused(checkpoint: Path, document: object) -> None:
    (checkpoint / LIST_FILE).write_text(json.dumps(document))
    assert "files.json is damaged" in refusal(checkpoint)


def test_what_an_earlier_copy_left_behind_does_not_matter(checkpoint: Path) -> None:
    (checkpoint / "learner" / "left-over").write_bytes(b"x")
    verify(LOCAL, str(checkpoint))


def test_an_old_list_does_not_vouch_for_a_newer_copy_that_was_cut_short(checkpoint: Path) -> None:
    (checkpoint / "learner/state.pkl").write_bytes(b"newer" * 200)
    assert "learner/state.pkl" in refusal(checkpoint)


def test_the_list_alone_is_read_without_the_files(checkpoint: Path) -> None:
    (checkpoint / "learner/state.pkl").unlink()
    assert read_list(LOCAL, str(checkpoint)).iteration == 8


def test_in_a_bucket_as_well(checkpoint: Path, any_root: str) -> None:
    storage = Storage.open(any_root)
    storage.copy_folder(str(checkpoint), "c", source_filesystem=LOCAL)
    assert verify(storage.filesystem, storage.at("c")).iteration == 8
    storage.write("c/learner/state.pkl", b"short")
    with pytest.raises(BrokenCheckpointError, match="has 5 bytes, its list says 1000"):
        verify(storage.filesystem, storage.at("c"))
