"""The model card of an exported policy."""

from __future__ import annotations

from typing import Final

from training.export.onnx_model import ONNX_FILE
from training.export.score import ScoreReport
from training.policy.manifest import MANIFEST_FILE, WEIGHTS_FILE, Manifest

_ENVIRONMENT: Final = "CarRacing-v3"


def write_card(manifest: Manifest, score: ScoreReport | None, film: str | None) -> str:
    """Return the contents of ``README.md``: metadata for hubs, then text for people.

    Args:
        manifest: Describes the policy.
        score: Its score, if one was taken.
        film: The film's file name, if there is a film.
    """
    # The extra `export`, which only this command needs.
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    results = None
    if score is not None:
        results = [
            EvalResult(
                task_type="reinforcement-learning",
                task_name="reinforcement-learning",
                dataset_type=_ENVIRONMENT,
                dataset_name=_ENVIRONMENT,
                metric_type="mean_reward",
                metric_name="mean_reward",
                metric_value=f"{score.mean:.1f} +/- {score.std:.1f}",
            )
        ]
    data = ModelCardData(
        model_name=manifest.version,
        library_name="carracing-ppo",
        pipeline_tag="reinforcement-learning",
        tags=[_ENVIRONMENT, "deep-reinforcement-learning", "reinforcement-learning", "ppo", "onnx"],
        eval_results=results,
    )
    body = "\n\n".join([_text(manifest, film), _scoreboard(score), _use(manifest)])
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n"))


def _text(manifest: Manifest, film: str | None) -> str:
    shown = f"\n\n![The policy drives one track]({film})" if film else ""
    return (
        f"# {manifest.version}\n\nA policy that drives Gymnasium's `{_ENVIRONMENT}` from pixels, "
        f"trained with PPO: recipe `{manifest.recipe}`, iteration {manifest.iteration}, "
        f"{manifest.env_steps:,} decisions.{shown}"
    )


def _scoreboard(score: ScoreReport | None) -> str:
    if score is None:
        return "## Score\n\nNo score was taken."
    low, high = score.interval_95
    rows = {
        "mean ± standard deviation": f"{score.mean:.1f} ± {score.std:.1f}",
        "95 % interval of the mean": f"{low:.1f} to {high:.1f}",
        "median": f"{score.median:.1f}",
        "minimum": f"{score.minimum:.1f}",
        "laps finished": f"{score.laps_finished:.0%}",
        "tracks below 800": f"{score.below_800:.0%}",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    note = "" if score.comparable else "\n\nOther tracks or another action filter than usual."
    return (
        f"## Score\n\nUnshaped returns of whole greedy episodes on the unmodified environment, "
        f"{len(score.episodes)} tracks that training never sees.{note}\n\n| | |\n|---|---|\n{table}"
    )


def _use(manifest: Manifest) -> str:
    size, _, stack = manifest.pipeline.observation_shape
    return (
        "## Use\n\n"
        f"- `{ONNX_FILE}`: input `observations`, (N, {size}, {size}, {stack}) uint8: grey "
        f"pictures, oldest first, one for each decision of {manifest.pipeline.frame_skip} frames; "
        "output `controls`, (N, 3) float32: steering in [-1, 1], gas and brake in [0, 1].\n"
        f"- `{WEIGHTS_FILE}` and `{MANIFEST_FILE}`: weights and configuration. In the project "
        "that trained it, `python -m training.evaluate film --checkpoint FOLDER` drives, and the "
        "service serves it with `CARRACING_BUNDLED_FOLDER=FOLDER`."
    )
