"""The end of a run: its result becomes the latest policy, and what to do next is printed."""

from __future__ import annotations

import math
import shlex
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from training.evaluation.progress import ProgressRow, best_trial, recent_return
from training.runs.publishing import PublishingCallback
from training.runs.run import Run
from training.runs.tuning import Outcome, TrialsFailedError
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore
from training.store.retrying import retry
from training.store.validation_scores import Validation
from training.validation.finals import Finals, Result

BEST_CONFIG_FILE = "best_config.json"
_SHARE = 0.05
"""Of a trial's training time that choosing the result may take."""
_LEAST_S = 60.0
"""That it may take in any case."""


class _SigtermError(BaseException):
    """SIGTERM came."""


@dataclass
class End:
    """Which signal ended the block of :func:`told_to_end`, if one did."""

    told_by: signal.Signals | None = None


@contextmanager
def told_to_end() -> Iterator[End]:
    """Leave the block at SIGINT or SIGTERM; the latter comes to the main thread alone."""
    end = End()

    def raise_error(*_: object) -> None:
        end.told_by = signal.SIGTERM
        raise _SigtermError

    listens = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, raise_error) if listens else None
    try:
        yield end
    except KeyboardInterrupt:
        end.told_by = signal.SIGINT
    except (_SigtermError, SystemError):
        # Ray's compiled code raises a SystemError where a signal's handler raises inside it.
        if end.told_by is None:
            raise
    finally:
        if listens:
            signal.signal(signal.SIGTERM, before)


def conclude(
    run: Run,
    outcome: Outcome,
    rows: Sequence[ProgressRow],
    publishing: PublishingCallback,
    *,
    validation_tracks: int,
    validations: Mapping[PolicyRef, Validation],
) -> None:
    """Choose, write and print a run's result, and make it the latest policy.

    It is the policy with the highest validation score; where none has a score, the newest one of
    the trial with the highest return in training.

    Args:
        run: The run.
        outcome: How its trials ended.
        rows: Its progress.
        publishing: What has published its policies.
        validation_tracks: How many tracks each policy is driven on; 0 validates nothing.
        validations: What was validated while the run trained.

    Raises:
        TrialsFailedError: A trial failed, or none finished an iteration.
        OSError: Storage went on to refuse.
    """
    if not rows:
        outcome.raise_failures()
        raise TrialsFailedError("no trial finished an iteration")
    if validation_tracks:
        print("choosing the run's best policy on validation tracks", flush=True)
    finals = Finals(run.storage, run.name, tracks=validation_tracks)
    limit_s = max(_LEAST_S, _SHARE * max(row.seconds for row in rows))
    result = finals.result(outcome.hyperparameters, validations, limit_s=limit_s)
    trial = result.manifest.trial if result else best_trial(rows)

    def promote() -> PolicyRef | None:
        if result is None:
            return publishing.promote(trial)
        PolicyStore(run.storage).promote(result.ref)
        return result.ref

    recent = recent_return([row for row in rows if row.trial == trial])
    ref = retry(promote, "naming the result the latest policy")
    publishing.prune()  # what was the latest until now
    config = {
        "trial": trial,
        "policy": ref.version if ref else None,
        "validation_score": result.validation.mean if result else None,
        "validation_episodes": result.validation.episodes if result else 0,
        "recent_return": None if math.isnan(recent) else recent,
        "config": outcome.hyperparameters[trial],
    }
    retry(lambda: run.write_json(BEST_CONFIG_FILE, config), f"writing {BEST_CONFIG_FILE}")
    print(_describe(trial, recent, ref, result))
    if ref is not None:
        root, table = shlex.quote(run.storage.root), shlex.quote(f"{run.address}/progress.csv")
        print(
            f"evaluate it:  python -m training.evaluate --checkpoint {root} "
            f"--episodes 10 --progress-csv {table}\n"
            f"serve it:     CARRACING_STORAGE={root} python -m app.local",
            flush=True,
        )
    outcome.raise_failures()


def _describe(trial: str, recent: float, ref: PolicyRef | None, result: Result | None) -> str:
    """The result in words."""
    if result is not None:
        return (
            f"result: policy {result.manifest.version} of trial {trial}, iteration "
            f"{result.manifest.iteration}, validation score {result.validation.mean:.1f} over "
            f"{result.validation.episodes} tracks"
        )
    newest = f"\nits newest policy is {ref.version}" if ref else ""
    if math.isnan(recent):
        return f"best trial {trial}: no episode has ended in it yet{newest}"
    return (
        f"best trial {trial}: mean return {recent:.1f} over its last iterations (unscaled, of "
        f"sampled actions in training){newest}"
    )
