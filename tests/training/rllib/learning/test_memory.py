from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest

from training.rllib.learning.memory import keep_freed_memory

_COUNT_FAULTS = """
import resource, sys
import numpy as np
if sys.argv[1] == "keep":
    from training.rllib.learning.memory import keep_freed_memory
    assert keep_freed_memory()
def touch():
    np.ones(1 << 22, np.uint8)
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_what_was_freed_is_used_again_without_new_page_faults() -> None:
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", _COUNT_FAULTS, how], text=True))
        for how in ("keep", "leave")
    }
    each = (1 << 22) // resource.getpagesize()
    assert faults["keep"] < each
    assert faults["leave"] > faults["keep"]


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
