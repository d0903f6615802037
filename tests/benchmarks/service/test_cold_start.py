from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.service.cold_start import _parts, _run

PROGRAM = """
from benchmarks.service.cold_start import _mark, _marked

_mark("first")
print("something else")
assert _marked("second", max)(1, 2) == 2
"""


def test_parts_are_what_lies_between_marks() -> None:
    begin = time.time()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    parts = _parts(process, begin)
    assert process.returncode == 0
    assert list(parts) == ["first", "second"]
    assert min(parts.values()) >= 0
    assert sum(parts.values()) <= time.time() - begin


def test_no_other_service_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRACING_BUNDLED", "0")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with _run("replica", "/store") as process:
        # Empty until the program has been loaded.
        while not (environment := Path(f"/proc/{process.pid}/environ").read_text().split("\0"))[0]:
            time.sleep(0.01)
        process.kill()
    assert [each for each in environment if each.startswith(("CARRACING_", "RAY_ADDRESS"))] == [
        "CARRACING_STORAGE=/store"
    ]
