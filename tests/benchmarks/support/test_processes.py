from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.support.processes import Usage, processor_seconds, usage

CHILD = (
    "import subprocess, sys, os\n"
    "kept = [open(os.devnull) for _ in range(50)]\n"
    "memory = bytearray(100 << 20)\n"
    "for k in range(0, len(memory), 4096): memory[k] = 1\n"
    "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
    "print(child.pid, flush=True)\n"
    "input()\n"
    "child.communicate()\n"
)


def test_a_process_and_what_it_started_are_found_with_what_they_take() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        grandchild = int(process.stdout.readline())
        found = usage(process.pid)
        process.communicate("\n")
    assert set(found) == {process.pid, grandchild}
    assert found[process.pid].resident > 100 << 20
    assert found[process.pid].files > 50
    assert found[grandchild].files < 50
    assert "input()" in found[grandchild].name
    assert processor_seconds({}, found) > 0
    assert usage(process.pid) == {}
    assert os.getpid() in usage(os.getpid())


def test_processor_time_is_that_of_the_living() -> None:
    def seconds(taken: dict[int, float]) -> dict[int, Usage]:
        return {pid: Usage("any", each, 0, 0) for pid, each in taken.items()}

    before = seconds({1: 10.0, 2: 100.0})
    assert processor_seconds(before, seconds({1: 10.5, 2: 101.0})) == 1.5
    # One has ended meanwhile, another began.
    assert processor_seconds(before, seconds({1: 10.5, 3: 0.25})) == 0.75
