"""The command line for training curves: this project's tables and those of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import pytest

from tests.training.evaluating import evaluate, row
from training.evaluation.progress import write_progress

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.mark.parametrize(
    "means", [[5.0], [float("nan")], [float("nan"), float("nan"), 3.0, 8.0]], ids=str
)
def test_a_curve_alone_even_when_training_has_just_begun(means: list[float]) -> None:
    rows = [row(number, mean) for number, mean in enumerate(means, start=1)]
    Path("progress.csv").write_bytes(write_progress(rows))
    evaluate("--progress-csv", "progress.csv")
    assert iio.imread("training_curve.png").shape[1] > 400
    assert not Path("carracing.gif").exists()


def test_a_curve_by_the_subcommand() -> None:
    rows = [row(number, 10.0 * number) for number in range(1, 5)]
    Path("progress.csv").write_bytes(write_progress(rows))
    evaluate("curve", "progress.csv", "--output", "c.svg", "--finetune-at", 3)
    evaluate("--progress-csv", "progress.csv", "--plot-output", "flat.svg", "--finetune-at", 3)
    assert Path("c.svg").read_text() == Path("flat.svg").read_text()


def test_an_svg_curve_with_a_switch_of_one_s_own() -> None:
    rows = [row(number, 10.0 * number) for number in range(1, 5)]
    Path("progress.csv").write_bytes(write_progress(rows))
    evaluate("--progress-csv", "progress.csv", "--plot-output", "c.svg", "--finetune-at", 3)
    assert "finetune after 3" in Path("c.svg").read_text()


def draw(table: str) -> str:
    """The curve of a table, as SVG."""
    Path("saved.csv").write_text(table, newline="")
    evaluate("--progress-csv", "saved.csv", "--plot-output", "curve.svg")
    return Path("curve.svg").read_text()


def test_a_table_that_excel_saved_gives_the_same_curve() -> None:
    table = write_progress([row(number, 10.0 * number) for number in range(1, 5)]).decode()
    curve = draw(table)
    assert draw("\ufeff" + table.replace("\n", "\r\n").rstrip()) == curve
    assert draw("\ufeff" + table.replace(",", ";").replace(".", ",")) == curve


def test_a_table_of_rllibs_old_api_stack_gives_its_curve(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [f"episode_reward_{kind}" for kind in ("min", "mean", "max")]
    rows = [row(number, 10.0 * number) for number in range(1, 5)]
    lines = [f"{r.iteration},{r.return_min},{r.return_mean},{r.return_max}" for r in rows]
    own = draw(write_progress(rows).decode())
    assert draw("\n".join([",".join(["training_iteration", *names]), *lines])) == own
    assert "4 iterations" in capsys.readouterr().out


def test_a_row_that_cannot_be_read_is_left_out_of_the_curve_and_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [row(number, 10.0 * number) for number in range(1, 5)]
    curve = draw(write_progress(rows).decode())
    spoiled = [*rows[:2], replace(rows[2], iteration=3, return_mean=float("inf")), *rows[2:]]
    assert draw(write_progress(spoiled).decode()) == curve
    assert "line 4" in caplog.text


def test_a_table_that_lacks_a_column_is_refused_with_its_name() -> None:
    with pytest.raises(SystemExit, match="training_iteration"):
        draw("time/iterations,rollout/ep_rew_mean\n1,2.0\n")
    assert not Path("curve.svg").exists()


def test_a_table_that_is_none_is_named() -> None:
    Path("progress.csv").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(SystemExit, match="UTF-8"):
        evaluate("--progress-csv", "progress.csv")
