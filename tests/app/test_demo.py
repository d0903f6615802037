"""``make demo``: a real, small training run beside a real service."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from benchmarks.support.running import free_port, inherited
from tests.app.running import ROOT, kill, processes_of
from tests.support.waiting import PATIENCE_S, wait_until


@pytest.mark.long
def test_it_serves_what_it_trains_until_it_is_interrupted(tmp_path: Path) -> None:
    root, log, port = str(tmp_path / "results"), tmp_path / "log", free_port()
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "app.demo", "--port", f"{port}", "--results-dir", root),
                *("--max-iters", "1", "--finetune-at", "0"),
            ],
            cwd=ROOT,
            env=inherited(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def trained() -> bool:
        assert process.poll() is None, log.read_text()
        return "training ended" in log.read_text()

    def served() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/policy", timeout=PATIENCE_S)
        except httpx.TransportError:
            return False
        return answer.is_success and answer.headers["Policy-Source"] == "storage"

    try:
        wait_until(lambda: "listening on" in log.read_text() or process.poll() is not None)
        wait_until(trained)
        assert "training ended (status 0)" in log.read_text(), log.read_text()
        wait_until(served)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0, log.read_text()
        assert "[serve] stopped" in log.read_text()
        wait_until(lambda: not processes_of(root))
    finally:
        kill(processes_of(root))
        process.kill()
        process.wait()
