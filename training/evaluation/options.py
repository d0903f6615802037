"""Options of ``python -m training.evaluate``: a class for each subcommand, and the flat form."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final

import tyro

from training.environment.actions import ActionFilter
from training.environment.observation import EPISODE_FRAMES, SIMULATOR_FPS
from training.environment.seeds import GIVEN_SEEDS, SCORE_SEEDS
from training.evaluation.film import WIDTH

FILM_SUFFIXES: Final = (".gif", ".webp", ".mp4")
CURVE_SUFFIXES: Final = (".png", ".svg")


@dataclass(frozen=True, kw_only=True)
class FilterOptions:
    """Replaces parts of the policy's own action filter."""

    smooth_alpha: float | None = None
    """Weight of a new action in the exponential average; 1 is no smoothing. Default: the policy's
    own, 0.2 for the recipe published."""
    steer_deadzone: float | None = None
    """Steering smaller than this becomes 0. Default: the policy's own, 0.05 for published."""
    steer_clip: float | None = None
    """Largest steering. Default: the policy's own, 0.8 for published."""

    def applied_to(self, own: ActionFilter) -> ActionFilter:
        """The policy's own filter with the given values replaced."""
        return ActionFilter(
            smooth_alpha=own.smooth_alpha if self.smooth_alpha is None else self.smooth_alpha,
            steer_deadzone=(
                own.steer_deadzone if self.steer_deadzone is None else self.steer_deadzone
            ),
            steer_clip=own.steer_clip if self.steer_clip is None else self.steer_clip,
        )

    def settings(self) -> dict[str, Any]:
        """Every option by name, ready for JSON."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, kw_only=True)
class DriveOptions(FilterOptions):
    """Which policy drives which tracks."""

    checkpoint: str | None = None
    """A published policy's folder, a run's or an RLlib checkpoint, or a storage root, whose newest
    policy is taken; on a disk or in a bucket. Default: the storage root that training writes to."""
    episodes: int = 1
    """Tracks to drive, each with the next seed."""
    seed: int = 0
    """Seed of the first track."""
    json: Path | None = None
    """File for every episode's score; default: none."""

    def __post_init__(self) -> None:
        """Check the values; raises ValueError."""
        if self.seed < 0:
            raise ValueError(f"--seed is {self.seed}; it must not be negative")
        if self.seeds and self.seeds[-1] not in GIVEN_SEEDS:
            raise ValueError(
                f"the last of {len(self.seeds)} tracks has seed {self.seeds[-1]}; "
                f"seeds are at most {GIVEN_SEEDS[-1]}, larger ones are training's"
            )
        check_folder(self.json)

    @property
    def seeds(self) -> range:
        """The tracks' seeds."""
        return range(self.seed, self.seed + self.episodes)


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(DriveOptions):
    """Take a policy's score: whole episodes on tracks that training never sees, in parallel."""

    episodes: int = len(SCORE_SEEDS)
    """Tracks, each with the next seed."""
    seed: int = SCORE_SEEDS.start
    """Seed of the first track. A score of other tracks than the default ones says so."""
    workers: int | None = None
    """Processes that drive; default: one for each CPU that this process may use."""
    json: Path | None = Path("score.json")
    """File for every episode's score."""

    def __post_init__(self) -> None:
        """Check the values; raises ValueError."""
        if self.episodes < 2:
            raise ValueError(f"--episodes is {self.episodes}; it must be at least 2")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"--workers is {self.workers}; it must be at least 1")
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class FilmOptions(DriveOptions):
    """Drive a few episodes, print their scores, and film them."""

    output: Path = Path("carracing.gif")
    """The film: .gif, .webp or .mp4, which needs the extra `video`."""
    max_steps: int = EPISODE_FRAMES
    """Simulator frames after which an episode is cut."""
    fps: float = 30.0
    """Pictures per second of simulated time, at most 50."""
    speed: float = 1.0
    """Speed of the film; 1 is the simulator's own."""
    width: int = WIDTH
    """Width of the film in pixels."""
    film: bool = True
    """Whether to make the film; without it, episodes are only scored."""

    def __post_init__(self) -> None:
        """Check the values; raises ValueError."""
        if self.episodes < 1:
            raise ValueError(f"--episodes is {self.episodes}; it must be at least 1")
        if not 1 <= self.max_steps <= EPISODE_FRAMES:
            raise ValueError(f"--max-steps is {self.max_steps}; it must be 1 to {EPISODE_FRAMES}")
        if not 0 < self.fps <= SIMULATOR_FPS:
            raise ValueError(
                f"--fps is {self.fps}; it must be above 0 and at most {SIMULATOR_FPS}, "
                "the simulator's own"
            )
        check_suffix(self.output, FILM_SUFFIXES)
        check_folder(self.output)
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class CurveOptions:
    """Draw the training curve of a progress table."""

    progress_csv: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROGRESS-CSV")]
    """The progress.csv of a run, of a trial or of another RLlib project; a path or an address."""
    output: Path = Path("training_curve.png")
    """The curve: .png or .svg."""
    finetune_at: int | None = None
    """Iteration of the switch that the curve marks; default: the one in the table."""

    def __post_init__(self) -> None:
        """Check the values; raises ValueError."""
        check_suffix(self.output, CURVE_SUFFIXES)
        check_folder(self.output)


Command = ScoreOptions | FilmOptions | CurveOptions


@dataclass(frozen=True, kw_only=True)
class FlatOptions(FilterOptions):
    """The same without a subcommand, as the template has it: a film, a score, a curve, or two.

    ``python -m training.evaluate {score,film,curve} --help`` shows the subcommands.
    """

    checkpoint: str | None = None
    """A published policy's folder, a run's or an RLlib checkpoint, or a storage root, whose newest
    policy is taken. Default: the storage root that training writes to, unless --progress-csv is
    given and --score is not."""
    score: bool = False
    """Take the policy's score, as the subcommand score does, instead of a film."""
    output: Path = FilmOptions.output
    """The film: .gif, .webp or .mp4, which needs the extra `video`."""
    episodes: int | None = None
    """Episodes to drive, each on the track of the next seed; default: 1, for a score 100."""
    max_steps: int = FilmOptions.max_steps
    """Simulator frames after which an episode is cut."""
    fps: float = FilmOptions.fps
    """Pictures per second of simulated time, at most 50."""
    speed: float = FilmOptions.speed
    """Speed of the film; 1 is the simulator's own."""
    width: int = FilmOptions.width
    """Width of the film in pixels."""
    seed: int | None = None
    """Seed of the first track; default: 0, for a score 1000000."""
    workers: int | None = None
    """Processes that drive for a score; default: one for each usable CPU."""
    film: bool = True
    """Whether to make the film; without it, episodes are only scored."""
    json: Path | None = None
    """File for every episode's score; default: none, for a score score.json."""
    progress_csv: str | None = None
    """A progress table, to draw its curve."""
    plot_output: Path = CurveOptions.output
    """The curve: .png or .svg."""
    finetune_at: int | None = None
    """Iteration of the switch that the curve marks; default: the one in the table."""

    def commands(self) -> list[Command]:
        """The subcommands that do the same; raises ValueError."""
        commands: list[Command] = []
        if self.score:
            self._check_score()
            commands.append(ScoreOptions(**self._given(ScoreOptions)))
        elif self.workers is not None:
            raise ValueError(f"--workers is {self.workers}; only a score is driven in several")
        elif self.progress_csv is None or self.checkpoint is not None:
            commands.append(FilmOptions(**self._given(FilmOptions)))
        if self.progress_csv is not None:
            commands.append(
                CurveOptions(
                    progress_csv=self.progress_csv,
                    output=self.plot_output,
                    finetune_at=self.finetune_at,
                )
            )
        check_suffix(self.plot_output, CURVE_SUFFIXES)
        return commands

    def _given(self, command: type[DriveOptions]) -> dict[str, Any]:
        """The subcommand's options that are not None here."""
        values = {field.name: getattr(self, field.name) for field in fields(command)}
        return {name: value for name, value in values.items() if value is not None}

    def _check_score(self) -> None:
        """Refuse options of a film; raises ValueError."""
        scored = {field.name for field in fields(ScoreOptions)}
        for field in fields(FilmOptions):
            value = getattr(self, field.name)
            if field.name not in scored and value != field.default:
                raise ValueError(
                    f"--{field.name.replace('_', '-')} is {value}; --score drives whole episodes "
                    "and makes no film, so leave it out"
                )


def check_suffix(path: Path, suffixes: tuple[str, ...]) -> None:
    """Check the format of a file to write; raises ValueError."""
    if path.suffix not in suffixes:
        raise ValueError(f"{path} cannot be written: its name must end in {' or '.join(suffixes)}")


def check_folder(*paths: Path | None) -> None:
    """Check that files can be written later; raises ValueError."""
    for path in paths:
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"{path} cannot be written: there is no folder {path.parent}")
