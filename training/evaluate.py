"""Evaluate a policy: its score, a film, the training curve. No Ray cluster is started.

    python -m training.evaluate score --checkpoint results
    python -m training.evaluate film --checkpoint results --output carracing.gif
    python -m training.evaluate curve results/runs/<run>/progress.csv

Scores are unscaled returns of the unmodified CarRacing-v3. Actions are greedy, and smoothed by the
filter that is printed: the policy's own unless options say otherwise.

The options also work without a subcommand: ``--checkpoint results --episodes 10 --output
carracing.gif`` is a film, ``--score`` a score, ``--progress-csv TABLE`` a curve.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, Final, cast

import tyro
from tqdm import tqdm

from training.environment.actions import ActionFilter
from training.evaluation.cpus import available_cpus
from training.evaluation.curve import CurveFormat, draw_curve, pick_trial
from training.evaluation.film import Film, FilmFormat
from training.evaluation.options import (
    Command,
    CurveOptions,
    FilmOptions,
    FlatOptions,
    ScoreOptions,
)
from training.evaluation.parallel import WorkerDiedError, drive_seeds
from training.evaluation.progress import ProgressError, read_progress
from training.evaluation.progress_bar import progress_bar
from training.evaluation.provenance import provenance
from training.evaluation.rollout import Episode, drive
from training.evaluation.scoreboard import Scoreboard, describe
from training.evaluation.sources import load_policy
from training.extras import MissingExtraError
from training.policy.acting import Policy
from training.policy.published import BrokenPolicyError
from training.rllib.checkpoint import NotACheckpointError
from training.store.policies import NoPolicyError
from training.store.storage import Storage, StorageError, choose_root

_PROGRAM: Final = "python -m training.evaluate"
_COMMANDS: Final[dict[str, type[Command]]] = {
    "score": ScoreOptions,
    "film": FilmOptions,
    "curve": CurveOptions,
}
_INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as in a shell."""


def score(options: ScoreOptions) -> None:
    """Drive the tracks in parallel, print the score, and write the report.

    Raises:
        WorkerDiedError, BrokenPolicyError: See ``training.evaluation.parallel``.
    """
    policy = load_policy(choose_root(options.checkpoint), root=choose_root())
    own_filter = policy.description.action_filter
    action_filter = options.applied_to(own_filter)
    print(_driving(policy, action_filter))
    with progress_bar(len(options.seeds), "track") as advance:
        episodes = drive_seeds(
            policy,
            options.seeds,
            workers=options.workers or available_cpus(),
            action_filter=action_filter,
            on_episode=lambda _: advance(),
        )
    board = Scoreboard(episodes, None if action_filter == own_filter else action_filter)
    print("\n".join(board.lines()))
    _write(options.json, board.report(policy, options.settings()))


def film(options: FilmOptions) -> None:
    """Drive the episodes, print their scores, and write the film and the report."""
    policy = load_policy(choose_root(options.checkpoint), root=choose_root())
    action_filter = options.applied_to(policy.description.action_filter)
    episodes = drive_episodes(policy, action_filter, options)
    told = {
        "policy": policy.version,
        "environment": "CarRacing-v3, unmodified",
        "returns": "unscaled, greedy actions, smoothed by the filter",
        "filter": asdict(action_filter),
        "options": options.settings(),
        **provenance(),
        "episodes": [describe(episode) for episode in episodes],
    }
    _write(options.json, told)


def drive_episodes(
    policy: Policy, action_filter: ActionFilter, options: FilmOptions
) -> list[Episode]:
    """Drive every episode, print its score, and write the film."""
    film = None
    if options.film:
        encoding = cast("FilmFormat", options.output.suffix.removeprefix("."))
        film = Film(encoding, width=options.width, speed=options.speed)
    print(_driving(policy, action_filter))
    episodes: list[Episode] = []
    frames = len(options.seeds) * options.max_steps
    # Without a terminal the episodes' lines suffice.
    with tqdm(total=frames, unit="frame", leave=False, disable=None) as bar:
        for index, seed in enumerate(options.seeds):
            bar.update(index * options.max_steps - bar.n)
            episode = drive(
                policy,
                seed,
                simulator="stock",
                max_frames=options.max_steps,
                action_filter=action_filter,
                film_fps=options.fps,
                shoot=None if film is None else film.add,
                on_frames=bar.update,
            )
            episodes.append(episode)
            lap = ", lap finished" if episode.lap_finished else ""
            bar.write(f"seed {seed}: score {episode.score:.1f} in {episode.frames} frames{lap}")
    scores = [episode.score for episode in episodes]
    print(f"score {fmean(scores):.1f} ± {pstdev(scores):.1f} over {len(scores)} episodes")
    if film is not None:
        options.output.write_bytes(film.encode())
        print(f"film: {options.output} ({options.output.stat().st_size / 1024:.0f} KiB)")
    return episodes


def _driving(policy: Policy, action_filter: ActionFilter) -> str:
    return (
        f"driving with {policy.version}, filter: smooth_alpha {action_filter.smooth_alpha:g}, "
        f"steer_deadzone {action_filter.steer_deadzone:g}, steer_clip {action_filter.steer_clip:g}"
    )


def curve(options: CurveOptions) -> None:
    """Draw the curve of a progress table that is a path or an ``s3://`` / ``gs://`` address."""
    table = options.progress_csv
    address = table if "://" in table else str(Path(table).absolute())
    folder, _, name = address.rpartition("/")
    rows = pick_trial(read_progress(Storage.open(folder or "/").read(name)))
    encoding: CurveFormat = "svg" if options.output.suffix == ".svg" else "png"
    options.output.write_bytes(draw_curve(rows, encoding, finetune_at=options.finetune_at))
    trial = f" of trial {rows[0].trial}" if rows[0].trial else ""
    print(f"curve: {options.output} ({len(rows)} iterations{trial})")


def _write(path: Path | None, report: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(report, indent=2))
        print(f"scores: {path}")


def parse(arguments: Sequence[str]) -> list[Command]:
    """The commands that the arguments ask for; raises ValueError, or SystemExit with a message."""
    if arguments and arguments[0] in _COMMANDS:
        name = arguments[0]
        return [tyro.cli(_COMMANDS[name], args=arguments[1:], prog=f"{_PROGRAM} {name}")]
    return tyro.cli(FlatOptions, args=arguments, prog=_PROGRAM).commands()


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        for options in parse(arguments):
            match options:
                case ScoreOptions():
                    score(options)
                case FilmOptions():
                    film(options)
                case CurveOptions():
                    curve(options)
    except (
        BrokenPolicyError,
        MissingExtraError,
        NoPolicyError,
        NotACheckpointError,
        ProgressError,
        StorageError,
        WorkerDiedError,
        ValueError,
        OSError,
    ) as error:
        raise SystemExit(f"{_PROGRAM}: {error}") from error
    except KeyboardInterrupt:
        print(f"{_PROGRAM}: interrupted", file=sys.stderr)
        raise SystemExit(_INTERRUPTED) from None


def run() -> None:
    """Run the command line with the process's arguments: the command ``carracing-evaluate``."""
    main(sys.argv[1:])


if __name__ == "__main__":
    run()
