from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.cold_start import _parts

PROGRAM = """
from benchmarks.cold_start import _mark, _marked

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
