from __future__ import annotations

import io
import json
import math
import re
import threading
from typing import Any, get_args
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from training.evaluation.curve import CurveFormat, curve_data, draw_curve, pick_trial
from training.evaluation.progress import ProgressRow

NAN = math.nan
SVG = "{http://www.w3.org/2000/svg}"
ENCODINGS: tuple[CurveFormat, ...] = get_args(CurveFormat)


def rows(number: int = 8, *, switch: int | None = None, **fields: Any) -> list[ProgressRow]:
    described: dict[str, Any] = {
        "trial": "trial-1",
        "lr": 2e-4,
        "entropy_coeff": 0.037,
        "clip_param": 0.2,
        "seconds": 1.0,
    }
    return [
        ProgressRow(
            **(
                described
                | {
                    "iteration": i,
                    "phase": "explore" if switch is None or i <= switch else "finetune",
                    "env_steps": 4096 * i,
                    "return_min": i * 10.0 - 30,
                    "return_mean": i * 10.0,
                    "return_max": i * 10.0 + 30,
                }
                | fields
            )
        )
        for i in range(1, number + 1)
    ]


def points(path: ElementTree.Element) -> list[tuple[float, float]]:
    numbers = re.findall(r"[ML] ([\d.]+) ([\d.]+)", path.get("d", ""))
    return [(float(x), float(y)) for x, y in numbers]


def lines(picture: bytes, *styles: str) -> list[list[tuple[float, float]]]:
    """The points of every line of an SVG picture whose style has all of these parts."""
    found = []
    for path in ElementTree.fromstring(picture).iter(f"{SVG}path"):
        style = path.get("style", "")
        if all(part in style for part in styles):
            found.append(points(path))
    return found


def red_dashes(picture: bytes) -> list[list[tuple[float, float]]]:
    """Red dashed lines from the top of the picture to its bottom; the legend's are short."""
    dashed = lines(picture, "stroke: #ff0000", "stroke-dasharray")
    return [line for line in dashed if abs(line[0][1] - line[-1][1]) > 100]


def mean_line(picture: bytes) -> list[tuple[float, float]]:
    """The points of the mean's line, which the legend has a short copy of."""
    return max(lines(picture, "stroke: #1f77b4", "stroke-width: 1.8"), key=len)


def pixels(picture: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(picture)) as image:
        return np.asarray(image.convert("RGB"))


def test_a_png_can_be_decoded() -> None:
    picture = draw_curve(rows())
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "PNG"
        assert image.size == (880, 495)
    assert len(np.unique(pixels(picture).reshape(-1, 3), axis=0)) > 10


def test_an_svg_is_xml() -> None:
    assert ElementTree.fromstring(draw_curve(rows(), "svg")).tag == f"{SVG}svg"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_same_rows_are_the_same_bytes(encoding: CurveFormat) -> None:
    assert draw_curve(rows(switch=3), encoding) == draw_curve(rows(switch=3), encoding)


def test_other_rows_are_another_picture() -> None:
    assert draw_curve(rows(), "svg") != draw_curve(rows(return_max=200.0), "svg")


def test_the_mean_goes_through_every_row() -> None:
    line = mean_line(draw_curve(rows(8), "svg"))
    assert len(line) == 8
    steps = np.diff(line, axis=0)
    np.testing.assert_allclose(steps, [steps[0]] * 7, atol=1e-3)


def test_iterations_whose_returns_are_unknown_take_their_place() -> None:
    unknown = rows(8, return_min=NAN, return_mean=NAN, return_max=NAN)
    whole = mean_line(draw_curve(rows(8), "svg"))
    half = mean_line(draw_curve([*unknown[:4], *rows(8)[4:]], "svg"))
    steps = [(line[-1][0] - line[0][0]) / (len(line) - 1) for line in (whole, half)]
    assert steps[0] == pytest.approx(steps[1], rel=0.05)


@pytest.mark.parametrize("switch", [1, 3, 7])
def test_a_red_dashed_line_marks_the_last_exploring_iteration(switch: int) -> None:
    picture = draw_curve(rows(8, switch=switch), "svg")
    (line,) = red_dashes(picture)
    expected, _ = mean_line(picture)[switch - 1]
    assert [x for x, _ in line] == pytest.approx([expected] * 2, abs=1e-3)


def test_the_line_can_be_told_where_to_stand() -> None:
    picture = draw_curve(rows(8, switch=3), "svg", finetune_at=5)
    (line,) = red_dashes(picture)
    assert line[0][0] == pytest.approx(mean_line(picture)[4][0], abs=1e-3)


@pytest.mark.parametrize("finetune_at", [None, 0, 9, 500])
def test_no_line_is_drawn_before_the_switch(finetune_at: int | None) -> None:
    assert red_dashes(draw_curve(rows(8), "svg", finetune_at=finetune_at)) == []


def test_the_line_is_red_in_a_png_too() -> None:
    def red(picture: bytes) -> int:
        found = pixels(picture).astype(int)
        return int(((found[..., 0] > 230) & (found[..., 1:].max(-1) < 60)).sum())

    assert red(draw_curve(rows(8))) == 0
    assert red(draw_curve(rows(8, switch=3))) > 100


@pytest.mark.parametrize(
    "drawn",
    [
        pytest.param(rows(1), id="one row"),
        pytest.param(rows(1, switch=0), id="one row of phase finetune"),
        pytest.param(rows(4, return_min=NAN, return_mean=NAN, return_max=NAN), id="all unknown"),
        pytest.param(rows(1, return_min=NAN, return_mean=NAN, return_max=NAN), id="one unknown"),
        pytest.param(rows(2, return_mean=NAN) + rows(6)[2:], id="unknown at first"),
        pytest.param(rows(4, return_min=5.0, return_mean=5.0, return_max=5.0), id="constant"),
        pytest.param(rows(1000, switch=500), id="a whole run"),
    ],
)
def test_any_table_can_be_drawn(drawn: list[ProgressRow]) -> None:
    assert draw_curve(drawn)


def test_a_lonely_row_is_seen_as_a_dot() -> None:
    def dots(drawn: list[ProgressRow]) -> int:
        uses = ElementTree.fromstring(draw_curve(drawn, "svg")).iter(f"{SVG}use")
        return sum("stroke: #1f77b4" in use.get("style", "") for use in uses)

    # The legend has its own.
    assert dots(rows(1)) > dots(rows(1, return_min=NAN, return_mean=NAN, return_max=NAN))


def test_drawing_leaves_matplotlibs_settings_alone() -> None:
    before = dict(matplotlib.rcParams)
    draw_curve(rows(), "svg")
    assert dict(matplotlib.rcParams) == before


def test_several_threads_can_draw_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = draw_curve(rows(), "svg")
    settings = dict(matplotlib.rcParams)
    save = Figure.savefig
    first_drawing, second_drawing, first_done = (threading.Event() for _ in range(3))

    def overlap(figure: Figure, *args: Any, **options: Any) -> None:
        # The first picture is saved between the second one's beginning and its end, where the
        # second one does not wait for the first of its own accord.
        if not first_drawing.is_set():
            first_drawing.set()
            second_drawing.wait(0.5)
        else:
            second_drawing.set()
            first_done.wait(10)
        save(figure, *args, **options)

    drawn: list[bytes] = []

    def draw_first() -> None:
        drawn.append(draw_curve(rows(), "svg"))
        first_done.set()

    def draw_second() -> None:
        first_drawing.wait(10)
        drawn.append(draw_curve(rows(), "svg"))

    monkeypatch.setattr(Figure, "savefig", overlap)
    threads = [threading.Thread(target=draw) for draw in (draw_first, draw_second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    leaked = dict(matplotlib.rcParams) != settings
    matplotlib.rcParams.update({"svg.hashsalt": settings["svg.hashsalt"]})
    assert drawn == [expected, expected]
    assert not leaked


def test_the_named_trial_is_picked_by_iteration() -> None:
    table = [*reversed(rows(3, trial="a")), *rows(3, trial="b", return_mean=900.0)]
    assert [(row.trial, row.iteration) for row in pick_trial(table, "a")] == [
        ("a", 1),
        ("a", 2),
        ("a", 3),
    ]


@pytest.mark.parametrize("trial", [None, "absent"])
def test_the_best_trial_is_picked_unless_one_is_named(trial: str | None) -> None:
    table = [
        *rows(2, trial="unknown", return_mean=NAN),
        *rows(2, trial="good", return_mean=800.0),
        *rows(2, trial="bad", return_mean=-20.0),
    ]
    assert {row.trial for row in pick_trial(table, trial)} == {"good"}


def test_the_numbers_of_a_curve_are_json() -> None:
    data = curve_data(rows(2, switch=1, return_min=NAN, lr=NAN))
    assert json.loads(json.dumps(data, allow_nan=False)) == {
        "trial": "trial-1",
        "finetune_at": 1,
        "iteration": [1, 2],
        "env_steps": [4096, 8192],
        "phase": ["explore", "finetune"],
        "return_min": [None, None],
        "return_mean": [10.0, 20.0],
        "return_max": [40.0, 50.0],
        "lr": [None, None],
        "entropy_coeff": [0.037, 0.037],
        "clip_param": [0.2, 0.2],
    }


def test_endless_numbers_are_unknown_in_json() -> None:
    data = curve_data(rows(1, return_max=math.inf, return_min=-math.inf))
    json.dumps(data, allow_nan=False)
    assert data["return_max"] == data["return_min"] == [None]


def test_the_numbers_tell_the_switch_that_they_were_told() -> None:
    assert curve_data(rows(2), finetune_at=500)["finetune_at"] == 500
    assert curve_data(rows(2))["finetune_at"] is None
