"""``python -m benchmarks``."""

from __future__ import annotations

from pathlib import Path

import pytest

import benchmarks
from benchmarks.__main__ import BENCHMARKS, main

ROOT = Path(benchmarks.__file__).parent
NO_MEASUREMENTS = {"support", "peers"}
PARTS = {"simulator.contenders"}
"""Run by other benchmarks, in processes of their own."""


def test_every_benchmark_is_listed_with_what_it_measures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    commands = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for path in ROOT.glob("*/*.py")
        if '__name__ == "__main__"' in path.read_text() and path.parent.name not in NO_MEASUREMENTS
    }
    assert commands - PARTS == set(BENCHMARKS)
    main()
    printed = capsys.readouterr().out
    for name in BENCHMARKS:
        assert f"python -m benchmarks.{name} " in printed
    assert "Kill processes of the service" in printed
