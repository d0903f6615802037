from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from benchmarks.support.processes import usage
from benchmarks.support.running import Server, ServerError, running
from tests.support.waiting import PATIENCE_S

ROOT = Path(__file__).parents[3]
ANSWERING = Server("answers", "tests.benchmarks.answering")


def test_a_server_is_up_inside_and_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRACING_ACT_THREADS", "7")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    before = signal.getsignal(signal.SIGTERM)
    with running(ANSWERING, {"CARRACING_POLL_INTERVAL_S": "3"}) as server:
        environment = httpx.post(f"{server.url}/act", content=b"").json()
        assert server.pid in usage(os.getpid())
    assert not usage(server.pid)
    assert signal.getsignal(signal.SIGTERM) == before
    told = {name: value for name, value in environment.items() if name.startswith("CARRACING_")}
    assert told == {"CARRACING_STORAGE": str(server.store), "CARRACING_POLL_INTERVAL_S": "3"}
    assert "RAY_ADDRESS" not in environment


def test_a_server_that_does_not_come_up_says_why() -> None:
    with (
        pytest.raises(ServerError, match=r"No module named .*nowhere"),
        running(Server("is not there", "tests.benchmarks.nowhere")),
    ):
        pass


def test_a_benchmark_that_is_told_to_end_ends_its_server() -> None:
    script = (
        "from tests.benchmarks.support.test_running import ANSWERING, running\n"
        "with running(ANSWERING) as server:\n"
        "    print(server.pid, flush=True)\n"
        "    input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        server = int(process.stdout.readline())
        process.terminate()
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert not usage(server)
