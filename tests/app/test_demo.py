from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from app import demo
from app.demo import DemoOptions, training_command


def test_only_what_was_asked_for_overrides_the_recipe() -> None:
    plain = ["training.train", "--recipe", "demo", "--skip-asha"]
    assert training_command(DemoOptions()) == plain
    given = DemoOptions(max_iters=3, finetune_at=0)
    assert training_command(given) == [*plain, "--max-iters", "3", "--finetune-at", "0"]


class FakePart:
    """Training ends at once, the service when it is told to."""

    def __init__(self, name: str, *_: object) -> None:
        self._ended = threading.Event()
        self._status = 0
        if name == "train":
            self._status = 7
            self._ended.set()

    def wait(self) -> int:
        self._ended.wait()
        return self._status

    def interrupt(self) -> None:
        self._ended.set()

    def end(self) -> None:
        assert self._ended.is_set()


def test_the_end_of_training_is_told_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "Part", FakePart)
    printed = ""

    def interrupt() -> None:
        nonlocal printed
        deadline = time.monotonic() + 5
        while "training ended" not in printed and time.monotonic() < deadline:
            time.sleep(0.05)
            printed += capsys.readouterr().out
        os.kill(os.getpid(), signal.SIGINT)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    threading.Timer(0.2, interrupt).start()
    try:
        assert demo.demo(DemoOptions()) == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "training ended (status 7); the service goes on\n" in printed
    assert "ending both" in capsys.readouterr().out
