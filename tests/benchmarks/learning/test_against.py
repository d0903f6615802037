from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.learning.against import ROOT, Options, checked_out, report


def test_the_table_compares_medians_of_runs() -> None:
    other = [[4.0, 4.0], [5.0, 3.0], [8.0, 8.0]]
    ours = [[2.0, 2.0], [1.0, 1.0], [2.0, 2.0]]
    rows = report(["8522f31", "the working tree"], [other, ours]).splitlines()
    assert rows[2] == "| 8522f31 | 4.00 (4.00–8.00) | 1.00 |"
    assert rows[3] == "| the working tree | 2.00 (1.00–2.00) | 2.00 |"


def test_a_commit_is_checked_out_and_removed_again() -> None:
    with checked_out("HEAD") as tree:
        assert (tree / "training" / "train.py").is_file()
        assert not (tree / ".git").exists()
        assert tree != ROOT
    assert not Path(tree).exists()


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"iterations": 0}])
def test_options_that_measure_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"--{next(iter(wrong))} is 0"):
        Options(commit="HEAD", **wrong)  # type: ignore[arg-type]
