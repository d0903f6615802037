"""Evaluate a policy: scores, a film, and the training curve. No Ray cluster is started.

    python -m training.evaluate --checkpoint results --episodes 10 --output carracing.gif
    python -m training.evaluate --progress-csv results/runs/<run>/progress.csv

Scores are returns of the unmodified environment: unscaled, greedy actions, stock CarRacing-v3.
The film shows the very episodes that were scored.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import tyro
from tqdm import tqdm

from training.actions import ActionFilter
from training.checkpoint import NotACheckpointError, is_checkpoint, load_actor
from training.curve import CurveFormat, draw_curve, pick_trial
from training.environment import EPISODE_FRAMES
from training.film import WIDTH, Film, FilmFormat
from training.manifest import MANIFEST_FILE
from training.policy import Policy
from training.progress import ProgressError, read_progress
from training.rollout import Episode, drive
from training.storage import Storage, StorageError, choose_root
from training.store import BrokenPolicyError, NoPolicyError, PolicyStore

_PROGRAM = "python -m training.evaluate"


@dataclass(frozen=True)
class EvaluateOptions:
    """Drive episodes with a policy, and draw a training curve; each works without the other."""

    checkpoint: str | None = None
    """A published policy's folder, an RLlib checkpoint, or a storage root, whose newest policy is
    taken. Without it and without --progress-csv: the storage root that training writes to."""
    output: Path = Path("carracing.gif")
    """The film to write, as its suffix says: .gif or .webp."""
    episodes: int = 1
    """Episodes to drive; each on the track of the next seed."""
    max_steps: int = EPISODE_FRAMES
    """Simulator frames after which an episode is cut."""
    fps: float = 30.0
    """Pictures per second of simulated time, at most 50."""
    speed: float = 1.0
    """Speed of the film; 1 is the simulator's own."""
    width: int = WIDTH
    """Width of the film in pixels."""
    smooth_alpha: float | None = None
    """Weight of a new action in the exponential average; 1 is no smoothing. Else the policy's own,
    0.2 for the recipe published."""
    steer_deadzone: float | None = None
    """Steering smaller than this becomes 0. Else the policy's own, 0.05 for published."""
    steer_clip: float | None = None
    """Largest steering. Else the policy's own, 0.8 for the recipe published."""
    seed: int = 0
    """Seed of the first track."""
    film: bool = True
    """Whether to make the film; scores alone are taken faster."""
    json: Path | None = None
    """Where to write every episode's score."""
    progress_csv: str | None = None
    """A run's or a trial's progress.csv, to draw the curve of."""
    plot_output: Path = Path("training_curve.png")
    """The curve to write, as its suffix says: .png or .svg."""
    finetune_at: int | None = None
    """Iteration of the switch that the curve marks; else as the table tells."""

    def __post_init__(self) -> None:
        """Refuse what cannot be done before anything is driven, with a ValueError that names it."""
        if self.episodes < 1:
            raise ValueError(f"--episodes is {self.episodes}; it must be at least 1")
        if not 1 <= self.max_steps <= EPISODE_FRAMES:
            raise ValueError(f"--max-steps is {self.max_steps}; it must be 1 to {EPISODE_FRAMES}")
        if self.seed < 0:
            raise ValueError(f"--seed is {self.seed}; it must not be negative")
        if self.output.suffix not in (".gif", ".webp"):
            raise ValueError(f"--output is {self.output}; it must end in .gif or .webp")
        if self.plot_output.suffix not in (".png", ".svg"):
            raise ValueError(f"--plot-output is {self.plot_output}; it must end in .png or .svg")


def load_policy(source: str) -> Policy:
    """Load a policy from a published folder, an RLlib checkpoint, or a storage root.

    Raises:
        NoPolicyError, BrokenPolicyError, NotACheckpointError, StorageError, OSError: It is not
            there or not whole; the message says which.
    """
    folder = Path(source)
    if (folder / MANIFEST_FILE).is_file():
        return Policy.from_folder(folder)
    if is_checkpoint(folder):
        actor, description = load_actor(folder)
        return Policy(description, actor, version=folder.name)
    return Policy.from_published(PolicyStore.open(source).newest())


def drive_episodes(policy: Policy, options: EvaluateOptions) -> list[Episode]:
    """Drive every episode, print its score, and write the film."""
    own = policy.description.action_filter
    action_filter = ActionFilter(
        smooth_alpha=_or(options.smooth_alpha, own.smooth_alpha),
        steer_deadzone=_or(options.steer_deadzone, own.steer_deadzone),
        steer_clip=_or(options.steer_clip, own.steer_clip),
    )
    film = None
    if options.film:
        encoding: FilmFormat = "webp" if options.output.suffix == ".webp" else "gif"
        film = Film(encoding, width=options.width, speed=options.speed)
    print(
        f"driving with {policy.version}, filter: smooth_alpha {action_filter.smooth_alpha:g}, "
        f"steer_deadzone {action_filter.steer_deadzone:g}, steer_clip {action_filter.steer_clip:g}"
    )
    episodes: list[Episode] = []
    with tqdm(total=options.episodes * options.max_steps, unit="frame", leave=False) as bar:
        for index in range(options.episodes):
            seed = options.seed + index
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


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def report(policy: Policy, episodes: Sequence[Episode], options: EvaluateOptions) -> dict[str, Any]:
    """Everything about an evaluation, ready for JSON."""
    return {
        "policy": policy.version,
        "environment": "CarRacing-v3, unmodified",
        "returns": "unscaled, greedy actions",
        "options": {
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(options).items()
        },
        "versions": {name: version(name) for name in ("gymnasium", "box2d", "torch", "numpy")},
        "created_at": datetime.now(UTC).isoformat(),
        "episodes": [
            {
                "seed": episode.seed,
                "score": episode.score,
                "frames": episode.frames,
                "lap_finished": episode.lap_finished,
            }
            for episode in episodes
        ],
    }


def plot(options: EvaluateOptions, table: str) -> None:
    """Draw the curve of a progress table that is a path or an ``s3://`` / ``gs://`` address."""
    folder, _, name = table.rpartition("/")
    rows = pick_trial(read_progress(Storage.open(folder or ".").read(name)))
    encoding: CurveFormat = "svg" if options.plot_output.suffix == ".svg" else "png"
    options.plot_output.write_bytes(draw_curve(rows, encoding, finetune_at=options.finetune_at))
    print(f"curve: {options.plot_output} ({len(rows)} iterations of trial {rows[0].trial})")


def evaluate(options: EvaluateOptions) -> None:
    """Do what the options ask for."""
    source = options.checkpoint
    if source is None and options.progress_csv is None:
        source = choose_root()
    if source is not None:
        policy = load_policy(source)
        episodes = drive_episodes(policy, options)
        if options.json is not None:
            options.json.write_text(json.dumps(report(policy, episodes, options), indent=2))
            print(f"scores: {options.json}")
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
        ValueError,
        OSError,
    ) as error:
        raise SystemExit(f"{_PROGRAM}: {error}") from error


if __name__ == "__main__":
    main(sys.argv[1:])
