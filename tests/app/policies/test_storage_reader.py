from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from app.errors import StorageUnavailableError
from app.policies.storage_reader import StorageReader

pytestmark = pytest.mark.anyio


class Hanging:
    """What reads storage that does not answer until it is told to."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.calls = 0
        self._counting = threading.Lock()

    def __call__(self) -> str:
        with self._counting:
            self.calls += 1
        assert self.answers.wait(60)
        return "late"


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    hanging = Hanging()
    yield hanging
    hanging.answers.set()


def be_patient(reads: StorageReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, have it wait as long as a slow machine may need."""
    monkeypatch.setattr(reads, "_timeout_s", 60.0)


@pytest.fixture
def given_up() -> Iterator[Hanging]:
    """Another one. Whether a thread begins it within a short limit is open."""
    given_up = Hanging()
    yield given_up
    given_up.answers.set()


@pytest.fixture
def reads() -> Iterator[StorageReader]:
    reads = StorageReader("s3://bucket/root", timeout_s=0.1)
    yield reads
    reads.close()


async def test_what_is_read_and_what_it_fails_with_is_given_on(
    reads: StorageReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(reads, monkeypatch)
    assert await reads.read(lambda: b"content") == b"content"

    def absent() -> None:
        raise FileNotFoundError("no such file")

    with pytest.raises(FileNotFoundError, match="no such file"):
        await reads.read(absent)


async def test_work_is_done_in_the_context_of_who_asks(
    reads: StorageReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Log lines name the request by it.
    request: ContextVar[str] = ContextVar("request")
    be_patient(reads, monkeypatch)
    request.set("first")
    assert await reads.read(request.get) == "first"


async def test_nobody_waits_longer_than_the_limit(reads: StorageReader, hanging: Hanging) -> None:
    with pytest.raises(
        StorageUnavailableError, match=r"s3://bucket/root did not answer within 0\.1 s"
    ):
        await reads.read(hanging)


async def test_while_storage_hangs_one_asks_and_the_others_are_refused_at_once(
    reads: StorageReader, hanging: Hanging, given_up: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageUnavailableError):
        await reads.read(given_up)
    be_patient(reads, monkeypatch)
    one = asyncio.create_task(reads.read(hanging))
    await asyncio.sleep(0)
    for _ in range(100):
        with pytest.raises(StorageUnavailableError, match="does not answer at the moment"):
            await reads.read(hanging)
    hanging.answers.set()
    assert await one == "late"
    assert await asyncio.gather(*(reads.read(hanging) for _ in range(10)))
    assert hanging.calls == 11


async def test_one_who_asks_and_leaves_lets_another_ask(
    reads: StorageReader, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageUnavailableError):
        await reads.read(hanging)
    be_patient(reads, monkeypatch)
    one = asyncio.create_task(reads.read(hanging))
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.wait([one])
    hanging.answers.set()
    assert await reads.read(hanging) == "late"


async def test_what_no_thread_has_begun_is_not_begun_later(
    reads: StorageReader, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patient:
        be_patient(reads, patient)
        begun = [asyncio.create_task(reads.read(hanging)) for _ in range(4)]
        async with asyncio.timeout(60):
            while hanging.calls < 4:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    waiting = (reads.read(hanging) for _ in range(50))
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(result) for result in results} == {StorageUnavailableError}
    hanging.answers.set()
    be_patient(reads, monkeypatch)
    assert await asyncio.gather(*begun) == ["late"] * 4
    assert await reads.read(lambda: "next") == "next"
    assert hanging.calls == 4


async def test_what_takes_long_refuses_nobody(reads: StorageReader, hanging: Hanging) -> None:
    running = reads.start(hanging)
    await asyncio.wait([running], timeout=0.3)
    assert not running.done()
    reads.check()
    assert await reads.read(lambda: "content") == "content"
    hanging.answers.set()
    assert await running == "late"


async def test_what_took_long_tells_that_storage_answers(
    reads: StorageReader, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageUnavailableError):
        await reads.read(hanging)
    be_patient(reads, monkeypatch)
    probe = asyncio.create_task(reads.read(hanging))
    await asyncio.sleep(0)

    def fail() -> None:
        raise ConnectionError("no route")

    with pytest.raises(StorageUnavailableError):
        await reads.start(fail)
    with pytest.raises(StorageUnavailableError, match="does not answer at the moment"):
        reads.check()
    assert await reads.start(lambda: "listing") == "listing"
    reads.check()
    hanging.answers.set()
    assert await probe == "late"
