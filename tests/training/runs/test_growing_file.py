from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from training.runs import growing_file
from training.runs.growing_file import GrowingFile
from training.store.storage import Storage


@dataclass(frozen=True)
class Moody(Storage):
    """Refuses, or hangs, when told to."""

    passes: threading.Event = field(default_factory=threading.Event)
    refuses: threading.Event = field(default_factory=threading.Event)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    written: list[bytes] = field(default_factory=list)

    def write(self, relative: str, content: bytes) -> None:
        self.begun.release()
        self.passes.wait()
        if self.refuses.is_set():
            raise OSError("away")
        super().write(relative, content)
        self.written.append(content)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long is waited does not depend on how busy the machine is."""
    monkeypatch.setattr(growing_file, "_WRITE_S", 300.0)
    monkeypatch.setattr(growing_file, "_AGAIN_S", 300.0)


@pytest.fixture
def storage(tmp_path: Path) -> Moody:
    opened = Storage.open(str(tmp_path / "root"))
    storage = Moody(opened.root, opened.opened, opened.path)
    storage.passes.set()
    return storage


@pytest.fixture
def file(storage: Moody) -> Iterator[GrowingFile]:
    file = GrowingFile(storage, "a/table.csv")
    yield file
    storage.refuses.clear()
    storage.passes.set()
    file.finish()


def test_what_is_put_is_written(file: GrowingFile, storage: Moody) -> None:
    file.put(b"1")
    assert file.wait_briefly()
    assert storage.read("a/table.csv") == b"1"
    file.put(b"12")
    file.finish()
    assert storage.read("a/table.csv") == b"12"


def test_where_nothing_was_put_nothing_is_waited_for(file: GrowingFile, storage: Moody) -> None:
    assert file.wait_briefly()
    file.finish()
    assert storage.written == []


def test_while_storage_hangs_nobody_is_held_up_and_then_the_newest_is_written(
    file: GrowingFile, storage: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing_file, "_WRITE_S", 0.01)
    monkeypatch.setattr(growing_file, "_AGAIN_S", 0.01)
    storage.passes.clear()
    file.put(b"1")
    storage.begun.acquire()
    assert not file.wait_briefly()
    for content in (b"12", b"123"):
        file.put(content)
        assert not file.wait_briefly()
    with pytest.raises(TimeoutError, match=r"a/table\.csv"):
        file.finish(for_s=0.01)
    storage.passes.set()
    file.finish()
    assert storage.written == [b"1", b"123"]


def test_what_is_refused_is_told_and_written_later(
    file: GrowingFile, storage: Moody, caplog: pytest.LogCaptureFixture
) -> None:
    storage.refuses.set()
    file.put(b"1")
    assert not file.wait_briefly()
    assert "a/table.csv could not be written, next try in" in caplog.text
    storage.refuses.clear()
    file.finish()
    assert storage.read("a/table.csv") == b"1"


def test_waiting_has_it_tried_at_once(
    file: GrowingFile, storage: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing_file, "pause_before", lambda _: 1e6)
    storage.refuses.set()
    file.put(b"1")
    assert not file.wait_briefly()
    file.put(b"12")
    storage.refuses.clear()
    assert file.wait_briefly()
    assert storage.written == [b"12"]


def test_what_storage_goes_on_to_refuse_is_an_error(file: GrowingFile, storage: Moody) -> None:
    storage.refuses.set()
    file.put(b"1")
    assert not file.wait_briefly()
    with pytest.raises(OSError, match="away"):
        file.finish(for_s=0.01)


def test_what_is_no_refusal_is_raised(storage: Moody, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no such name")

    monkeypatch.setattr(Moody, "write", fail)
    file = GrowingFile(storage, "a/table.csv")
    file.put(b"1")
    with pytest.raises(ValueError, match="no such name"):
        file.finish()
    with pytest.raises(ValueError, match="no such name"):
        file.put(b"12")


def test_the_thread_ends_when_nothing_is_to_be_written(file: GrowingFile, storage: Moody) -> None:
    def threads() -> list[Any]:
        return [each for each in threading.enumerate() if each.name == file.name]

    storage.passes.clear()
    file.put(b"1")
    (thread,) = threads()
    storage.passes.set()
    file.finish()
    thread.join()
    assert threads() == []
