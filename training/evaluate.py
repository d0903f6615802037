"""Evaluate a policy: scores, a film, and the training curve. No Ray cluster is started.

    python -m training.evaluate --checkpoint results --episodes 10 --output carracing.gif
    python -m training.evaluate --score --checkpoint results
    python -m training.evaluate --progress-csv results/runs/<run>/progress.csv

Scores are unscaled returns of the unmodified CarRacing-v3. Actions are greedy, and smoothed by the
filter that is printed: the policy's own unless options say otherwise.
The film shows the very episodes that were scored. With ``--score`` there is none: a hundred tracks
that training never sees are driven in parallel, always in the same way
(``training.evaluation.scoreboard``).
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import tyro
from tqdm import tqdm

from training.environment.actions import ActionFilter
from training.evaluation.cpus import available_cpus
from training.evaluation.curve import CurveFormat, draw_curve, pick_trial
from training.evaluation.film import Film, FilmFormat
from training.evaluation.options import EvaluateOptions
from training.evaluation.parallel import WorkerDiedError, drive_seeds
from training.evaluation.progress import ProgressError, read_progress
from training.evaluation.progress_bar import progress_bar
from training.evaluation.provenance import provenance
from training.evaluation.rollout import Episode, drive
from training.evaluation.scoreboard import Scoreboard, describe
from training.policy.acting import Policy
from training.rllib.checkpoint import NotACheckpointError, is_checkpoint, load_actor
from training.store.policies import NoPolicyError, PolicyStore
from training.store.published import BrokenPolicyError, read_policy
from training.store.storage import Storage, StorageError, choose_root

_PROGRAM = "python -m training.evaluate"
_INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def load_policy(source: str) -> Policy:
    """Load a policy from a published folder, an RLlib checkpoint, or a storage root.

    Raises:
        NoPolicyError, BrokenPolicyError, NotACheckpointError, StorageError, OSError: It is not
            there or not whole; the message says which.
    """
    folder = Path(source)
    if is_checkpoint(folder):
        actor, description = load_actor(folder)
        return Policy(description, actor, version=folder.name)
    storage = Storage.open(source)
    try:
        return Policy.from_published(read_policy(storage))
    except FileNotFoundError:
        return Policy.from_published(PolicyStore(storage).newest())


def choose_filter(policy: Policy, options: EvaluateOptions) -> ActionFilter:
    """The policy's own filter, with what the options override."""
    own = policy.description.action_filter
    return ActionFilter(
        smooth_alpha=_or(options.smooth_alpha, own.smooth_alpha),
        steer_deadzone=_or(options.steer_deadzone, own.steer_deadzone),
        steer_clip=_or(options.steer_clip, own.steer_clip),
    )


def drive_episodes(
    policy: Policy, action_filter: ActionFilter, options: EvaluateOptions
) -> list[Episode]:
    """Drive every episode, print its score, and write the film."""
    film = None
    if options.film:
        encoding: FilmFormat = "webp" if options.output.suffix == ".webp" else "gif"
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


def score(policy: Policy, options: EvaluateOptions) -> Scoreboard:
    """Drive the tracks of a score in parallel, and print what they come to.

    Raises:
        WorkerDiedError, BrokenPolicyError: See ``training.evaluation.parallel``.
    """
    seeds = options.seeds
    print(_driving(policy, policy.description.action_filter))
    with progress_bar(len(seeds), "track") as advance:
        episodes = drive_seeds(
            policy,
            seeds,
            workers=options.workers or available_cpus(),
            on_episode=lambda _: advance(),
        )
    board = Scoreboard(episodes)
    print("\n".join(board.lines()))
    return board


def _driving(policy: Policy, action_filter: ActionFilter) -> str:
    return (
        f"driving with {policy.version}, filter: smooth_alpha {action_filter.smooth_alpha:g}, "
        f"steer_deadzone {action_filter.steer_deadzone:g}, steer_clip {action_filter.steer_clip:g}"
    )


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def report(
    policy: Policy,
    action_filter: ActionFilter,
    episodes: Sequence[Episode],
    options: EvaluateOptions,
) -> dict[str, Any]:
    """Everything about an evaluation, ready for JSON."""
    return {
        "policy": policy.version,
        "environment": "CarRacing-v3, unmodified",
        "returns": "unscaled, greedy actions, smoothed by the filter",
        "filter": asdict(action_filter),
        "options": options.settings(),
        **provenance(),
        "episodes": [describe(episode) for episode in episodes],
    }


def plot(options: EvaluateOptions, table: str) -> None:
    """Draw the curve of a progress table that is a path or an ``s3://`` / ``gs://`` address."""
    address = table if "://" in table else str(Path(table).absolute())
    folder, _, name = address.rpartition("/")
    rows = pick_trial(read_progress(Storage.open(folder or "/").read(name)))
    encoding: CurveFormat = "svg" if options.plot_output.suffix == ".svg" else "png"
    options.plot_output.write_bytes(draw_curve(rows, encoding, finetune_at=options.finetune_at))
    trial = f" of trial {rows[0].trial}" if rows[0].trial else ""
    print(f"curve: {options.plot_output} ({len(rows)} iterations{trial})")


def evaluate(options: EvaluateOptions) -> None:
    """Do what the options ask for."""
    source = options.checkpoint
    if source is None and (options.score or options.progress_csv is None):
        source = choose_root()
    if source is not None:
        policy = load_policy(source)
        if options.score:
            written = score(policy, options).report(policy, options.settings())
        else:
            action_filter = choose_filter(policy, options)
            episodes = drive_episodes(policy, action_filter, options)
            written = report(policy, action_filter, episodes, options)
        if options.report_file is not None:
            options.report_file.write_text(json.dumps(written, indent=2))
            print(f"scores: {options.report_file}")
    if options.progress_csv is not None:
        plot(options, options.progress_csv)


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        evaluate(tyro.cli(EvaluateOptions, args=arguments, prog=_PROGRAM))
    except (
        BrokenPolicyError,
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


if __name__ == "__main__":
    main(sys.argv[1:])
