"""The training curve: return per iteration as a PNG or SVG picture, or as numbers."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.evaluation.progress import ProgressRow, best_trial, switch_iteration

CurveFormat = Literal["png", "svg"]

_SETTINGS = threading.Lock()
"""Held while matplotlib's settings, which all threads share, are changed."""


def pick_trial(rows: Sequence[ProgressRow], trial: str | None = None) -> list[ProgressRow]:
    """The rows of one trial by iteration: the named one where it is there, else the best."""
    if trial is None or all(row.trial != trial for row in rows):
        trial = best_trial(rows)
    return sorted((row for row in rows if row.trial == trial), key=lambda row: row.iteration)


def draw_curve(
    rows: Sequence[ProgressRow], encoding: CurveFormat = "png", *, finetune_at: int | None = None
) -> bytes:
    """Draw one trial's curve: minimum, mean and maximum return, and the switch of phases.

    Args:
        rows: The trial's rows by iteration; returns may be NaN.
        encoding: Of the picture.
        finetune_at: Where the switch is marked; None reads it off the rows.
    """
    iterations = [row.iteration for row in rows]
    switch = switch_iteration(rows) if finetune_at is None else finetune_at
    # Figure instead of pyplot: no global state, so several threads can draw.
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.fill_between(
        iterations,
        [row.return_min for row in rows],
        [row.return_max for row in rows],
        color="tab:blue",
        alpha=0.15,
        linewidth=0,
        label="min to max",
    )
    # One point, or one between gaps, has no line to be seen by.
    marker = "o" if len(rows) < 30 else None
    for name, style, width in (("min", ":", 0.8), ("max", "--", 0.8), ("mean", "-", 1.8)):
        axes.plot(
            iterations,
            [getattr(row, f"return_{name}") for row in rows],
            style,
            color="tab:blue",
            alpha=1 if name == "mean" else 0.7,
            linewidth=width,
            marker=marker,
            markersize=2 * width,
            label=name,
        )
    if switch is not None and 0 < switch <= max(iterations):
        axes.axvline(switch, color="red", linestyle="--", label=f"finetune after {switch}")
    if all(math.isnan(row.return_mean) for row in rows):
        axes.text(0.5, 0.5, "no episode has ended yet", ha="center", transform=axes.transAxes)
    # Iterations whose returns are not known yet count too.
    axes.set_xlim(iterations[0] - 0.5, iterations[-1] + 0.5)
    axes.set_xlabel("training iteration")
    axes.set_ylabel("return of sampled episodes")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize="small")
    buffer = io.BytesIO()
    # Neither a date nor random ids: the same rows give the same bytes.
    with _SETTINGS, matplotlib.rc_context({"svg.hashsalt": "carracing"}):
        figure.savefig(
            buffer, format=encoding, dpi=110, metadata={"Date": None} if encoding == "svg" else None
        )
    return buffer.getvalue()


def curve_data(rows: Sequence[ProgressRow], *, finetune_at: int | None = None) -> dict[str, Any]:
    """The numbers of a curve as JSON-ready lists; an unknown number is None."""
    return {
        "trial": rows[0].trial,
        "finetune_at": switch_iteration(rows) if finetune_at is None else finetune_at,
        "iteration": [row.iteration for row in rows],
        "env_steps": [row.env_steps for row in rows],
        "phase": [row.phase for row in rows],
        **{
            name: [value if math.isfinite(value := getattr(row, name)) else None for row in rows]
            for name in (
                "return_min",
                "return_mean",
                "return_max",
                "lr",
                "entropy_coeff",
                "clip_param",
            )
        },
    }
