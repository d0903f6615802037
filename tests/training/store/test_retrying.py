from __future__ import annotations

import logging

import pytest

from training.store import retrying
from training.store.retrying import pause_before, retry


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(retrying, "time", clock)
    return clock


def test_it_goes_on_trying_more_and_more_rarely(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def work() -> str:
        if clock.now < 100:
            raise OSError("away")
        return "done"

    with caplog.at_level(logging.WARNING):
        assert retry(work, "writing x") == "done"
    assert clock.slept == [1, 2, 4, 8, 16, 30, 30, 30]
    assert "writing x failed, next try in 16 s: away" in caplog.text


def test_it_gives_up_in_time_with_the_last_error(clock: Clock) -> None:
    def work() -> None:
        raise OSError(f"away at {clock.now:g}")

    with pytest.raises(OSError, match="away at 7"):
        retry(work, "writing x", timeout_s=10)
    assert clock.now == 7


def test_other_errors_are_not_tried_again(clock: Clock) -> None:
    def work() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        retry(work, "writing x")
    assert clock.slept == []


def test_what_is_worth_another_try_can_be_said(clock: Clock) -> None:
    tries = iter([RuntimeError("no root"), None])

    def work() -> None:
        if (error := next(tries)) is not None:
            raise error

    retry(work, "writing x", errors=(OSError, RuntimeError))
    assert clock.slept == [1]


def test_no_pause_is_longer_than_half_a_minute() -> None:
    assert [pause_before(attempt) for attempt in (1, 5, 6, 5000)] == [1, 16, 30, 30]
