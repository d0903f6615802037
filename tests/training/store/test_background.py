"""Storage operations on a thread of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from training.store import background
from training.store.background import StorageQueue


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "pause_before", lambda attempt: 0.0)


def failing(errors: list[Exception], done: list[str], name: str) -> Callable[[], None]:
    """An operation that raises these errors first."""

    def act() -> None:
        if errors:
            raise errors.pop(0)
        done.append(name)

    return act


def test_operations_run_in_order() -> None:
    queue, done = StorageQueue("test"), list[str]()
    for name in "abc":
        queue.submit(name, failing([], done, name))
    queue.finish(300)
    assert done == ["a", "b", "c"]
    queue.submit("d", failing([], done, "d"))
    queue.finish(300)
    assert done == ["a", "b", "c", "d"]


def test_an_operation_is_repeated_behind_the_others_after_an_error() -> None:
    queue, done = StorageQueue("test"), list[str]()
    entered, go_on = threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        assert go_on.wait(300)

    queue.submit("blocks", block)
    assert entered.wait(300)
    queue.submit("a", failing([OSError("away"), OSError("away")], done, "a"))
    queue.submit("b", failing([], done, "b"))
    go_on.set()
    queue.finish(300)
    assert done == ["b", "a"]
    assert queue.last_error is None
    assert queue.pending_s("a") == 0


def test_a_newer_operation_replaces_one_that_waits_and_nobody_waits_for_a_storage_that_hangs() -> (
    None
):
    queue, done = StorageQueue("test"), list[str]()
    entered, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        assert go_on.wait(300)
        raise OSError("reset")

    queue.submit("table", hang)
    assert entered.wait(300)
    first = queue.pending_s("table")
    queue.submit("table", failing([], done, "older"))
    queue.submit("table", failing([], done, "newer"))
    assert queue.pending_s("table") >= first
    assert not queue.wait(0.01)
    with pytest.raises(TimeoutError, match="table"):
        queue.finish(0.01)
    go_on.set()
    queue.finish(300)
    assert done == ["newer"]


def test_the_error_of_storage_is_raised_where_it_stays_away() -> None:
    queue, stop = StorageQueue("test"), threading.Event()
    failed = threading.Event()

    def refuse() -> None:
        if not stop.is_set():
            failed.set()
            raise OSError("no space left")

    queue.submit("table", refuse)
    assert failed.wait(300)
    while queue.last_error is None:
        pass
    with pytest.raises(OSError, match="no space left"):
        queue.finish(0.01)
    assert str(queue.last_error) == "no space left"
    stop.set()
    queue.finish(300)


def test_another_error_is_raised_in_the_caller_s_thread() -> None:
    queue = StorageQueue("test")
    queue.submit("a", failing([ZeroDivisionError("bug")], [], "a"))
    with pytest.raises(ZeroDivisionError):
        queue.finish(300)
    with pytest.raises(ZeroDivisionError):
        queue.submit("b", failing([], [], "b"))
