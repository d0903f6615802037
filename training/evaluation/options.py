"""The options of an evaluation, and what of them makes no sense together."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from training.environment.observation import EPISODE_FRAMES, SIMULATOR_FPS
from training.environment.seeds import GIVEN_SEEDS, SCORE_SEEDS
from training.evaluation.film import WIDTH

_NOT_OF_A_SCORE: Final = (
    "max_steps",
    "smooth_alpha",
    "steer_deadzone",
    "steer_clip",
    "output",
    "fps",
    "speed",
    "width",
)


@dataclass(frozen=True)
class EvaluateOptions:
    """Drive episodes with a policy, and draw a training curve; each works without the other."""

    checkpoint: str | None = None
    """A published policy's folder, an RLlib checkpoint, or a storage root, whose newest policy is
    taken. Without it: the storage root that training writes to, unless --progress-csv is given and
    --score is not."""
    score: bool = False
    """Take the policy's score instead: 100 tracks that training never sees, whole episodes, the
    policy's own filter, no film."""
    output: Path = Path("carracing.gif")
    """The film to write, as its suffix says: .gif or .webp."""
    episodes: int | None = None
    """Episodes to drive, each on the track of the next seed; else 1, for a score 100."""
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
    seed: int | None = None
    """Seed of the first track; else 0, for a score 1000000. A score of other tracks than its own
    says so."""
    workers: int | None = None
    """Processes that drive for a score; else one for each CPU that this process may
    use."""
    film: bool = True
    """Whether to make the film; scores alone are taken faster."""
    json: Path | None = None
    """Where to write every episode's score; else nowhere, for a score score.json."""
    progress_csv: str | None = None
    """The progress.csv of a run, of a trial or of another RLlib project, to draw the curve of."""
    plot_output: Path = Path("training_curve.png")
    """The curve to write, as its suffix says: .png or .svg."""
    finetune_at: int | None = None
    """Iteration of the switch that the curve marks; else as the table tells."""

    def __post_init__(self) -> None:
        """Refuse what cannot be done before anything is driven, with a ValueError that names it."""
        if self.score:
            self._refuse_what_no_score_has()
        elif self.workers is not None:
            raise ValueError(f"--workers is {self.workers}; only --score drives in several")
        least = 2 if self.score else 1
        if self.episodes is not None and self.episodes < least:
            raise ValueError(f"--episodes is {self.episodes}; it must be at least {least}")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"--workers is {self.workers}; it must be at least 1")
        if not 1 <= self.max_steps <= EPISODE_FRAMES:
            raise ValueError(f"--max-steps is {self.max_steps}; it must be 1 to {EPISODE_FRAMES}")
        if not 0 < self.fps <= SIMULATOR_FPS:
            raise ValueError(
                f"--fps is {self.fps}; it must be above 0 and at most {SIMULATOR_FPS}, "
                "the simulator's own"
            )
        if self.seeds[0] < 0:
            raise ValueError(f"--seed is {self.seed}; it must not be negative")
        if self.seeds[-1] not in GIVEN_SEEDS:
            raise ValueError(
                f"the last of {len(self.seeds)} tracks has seed {self.seeds[-1]}; "
                f"seeds are at most {GIVEN_SEEDS[-1]}, above are training's"
            )
        if self.output.suffix not in (".gif", ".webp"):
            raise ValueError(f"--output is {self.output}; it must end in .gif or .webp")
        if self.plot_output.suffix not in (".png", ".svg"):
            raise ValueError(f"--plot-output is {self.plot_output}; it must end in .png or .svg")
        for path in (self.output, self.plot_output, self.report_file):
            if path is not None and not path.parent.is_dir():
                raise ValueError(f"{path} cannot be written: there is no folder {path.parent}")

    def _refuse_what_no_score_has(self) -> None:
        """Refuse options that would flatter, or do nothing, with a ValueError that names one."""
        defaults = {field.name: field.default for field in fields(self)}
        for name in _NOT_OF_A_SCORE:
            value = getattr(self, name)
            if value != defaults[name]:
                raise ValueError(
                    f"--{name.replace('_', '-')} is {value}; --score drives whole episodes with "
                    "the policy's own filter and makes no film, so leave it out"
                )

    @property
    def seeds(self) -> range:
        """The tracks to drive."""
        own = SCORE_SEEDS if self.score else range(1)
        first = own.start if self.seed is None else self.seed
        return range(first, first + (len(own) if self.episodes is None else self.episodes))

    @property
    def report_file(self) -> Path | None:
        """Where every episode's score goes, if anywhere."""
        return Path("score.json") if self.score and self.json is None else self.json

    def settings(self) -> dict[str, Any]:
        """Every option by name, ready for JSON."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(self).items()
        }
