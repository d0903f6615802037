from __future__ import annotations

from benchmarks.faults.growth import Sample, growth
from benchmarks.support.processes import Usage

MIB = 1 << 20


def test_what_grows_shows_and_what_is_flat_does_too() -> None:
    samples = [
        Sample(
            minutes=minute,
            processes={
                1: Usage("/usr/bin/python /x/grows.py", minute, (100 + minute) * MIB, 10),
                2: Usage("flat", minute, 50 * MIB, 20 + 2 * minute),
            }
            | ({3: Usage("short", 0.0, MIB, 1)} if minute == 4 else {}),
        )
        for minute in range(9)
    ]
    lines = growth(samples).splitlines()
    assert lines[2] == "| python grows.py | 101 | 107 | +60.0 | 10 | 10 | +0.0 |"
    assert lines[3] == "| flat | 50 | 50 | +0.0 | 22 | 34 | +120.0 |"
    assert lines[4].startswith("| all together | 151 | 157 |")
    assert lines[-1].startswith("1 processes")
