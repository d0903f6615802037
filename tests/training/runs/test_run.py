from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.recipe import RECIPES
from training.runs.run import Run, RunError, default_run_name
from training.store.storage import Storage, StorageError

SETTINGS = {"recipe": "published", "lr": 2e-4}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(Storage.open(str(tmp_path)), "run-a")


def begin(run: Run, settings: dict[str, Any] | None = None) -> None:
    """What a run leaves behind once its trials are drawn."""
    run.prepare(settings or SETTINGS, resume="auto", restart=False)
    run.storage.write("runs/run-a/trials.json", b"{}")


def test_a_new_run_starts_and_keeps_its_settings(run: Run) -> None:
    assert run.prepare(SETTINGS, resume="auto", restart=False) is False
    assert b'"lr": 0.0002' in run.storage.read("runs/run-a/run.json")


def test_the_same_name_resumes(run: Run) -> None:
    begin(run)
    assert run.prepare(SETTINGS, resume="auto", restart=False) is True
    assert run.prepare(SETTINGS, resume="must", restart=False) is True


def test_a_run_that_never_got_going_starts_again(run: Run) -> None:
    run.prepare(SETTINGS, resume="auto", restart=False)
    assert run.prepare(SETTINGS, resume="auto", restart=False) is False


def test_never_refuses_to_resume(run: Run) -> None:
    begin(run)
    with pytest.raises(RunError, match=r"already.*--restart"):
        run.prepare(SETTINGS, resume="never", restart=False)


def test_must_insists_on_something_to_resume(run: Run) -> None:
    with pytest.raises(RunError, match="no run to resume"):
        run.prepare(SETTINGS, resume="must", restart=False)


def test_other_settings_are_not_mixed_in(run: Run) -> None:
    begin(run)
    with pytest.raises(RunError, match=r"lr was 0\.0002 and is now 0\.1"):
        run.prepare(SETTINGS | {"lr": 0.1}, resume="auto", restart=False)


def test_a_run_continues_with_more_iterations_and_not_with_fewer(run: Run) -> None:
    begin(run, SETTINGS | {"max_iters": 20})
    longer = SETTINGS | {"max_iters": 40}
    assert run.prepare(longer, resume="auto", restart=False) is True
    assert run.prepare(longer, resume="auto", restart=False) is True
    with pytest.raises(RunError, match=r"max_iters was 40 and is now 20"):
        run.prepare(SETTINGS | {"max_iters": 20}, resume="auto", restart=False)
    with pytest.raises(RunError, match=r"lr was 0\.0002 and is now 0\.1"):
        run.prepare(longer | {"max_iters": 60, "lr": 0.1}, resume="auto", restart=False)
    assert json.loads(run.storage.read("runs/run-a/run.json"))["max_iters"] == 40


FULL = {"trials": 1, "seed": 0, **dataclasses.asdict(RECIPES["swift"]), "recipe": "swift"}


def resume_after_change(run: Run, change: Callable[[dict[str, Any]], Any]) -> bool:
    """Resume with today's settings a run that was started with others."""
    begin(run, FULL)
    before = json.loads(run.storage.read("runs/run-a/run.json"))
    change(before)
    run.write_json("run.json", before)
    return run.prepare(FULL, resume="must", restart=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda before: before.pop("keep_checkpoints"),
        lambda before: before["asha"].pop("grace_period"),
        lambda before: before["action_filter"].pop("smooth_alpha"),
        lambda before: before.pop("asha"),
    ],
    ids=["an option", "a value within one", "one with another default in a recipe", "a group"],
)
def test_an_option_that_did_not_exist_had_its_default(
    run: Run, change: Callable[[dict[str, Any]], Any]
) -> None:
    assert resume_after_change(run, change)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda before: before.pop("adam_epsilon"), "adam_epsilon was 1e-08 and is now 1e-05"),
        (
            lambda before: before["coaching"].pop("spin"),
            r"coaching was .*'spin': 0\.0.* and is now",
        ),
        (lambda before: before.pop("search"), r"search was \{'lr'.* and is now \{\}"),
        (lambda before: before.update(gone=1), "gone was 1 and is now None"),
        (lambda before: before["asha"].update(gone=1), "asha was .*'gone': 1"),
        (lambda before: before.pop("seed"), "seed was None and is now 0"),
        (lambda before: before.update(asha=[]), r"asha was \[\] and is now"),
    ],
    ids=["an option", "within one", "a search", "gone", "gone within", "of the run", "no group"],
)
def test_an_option_that_did_not_exist_and_is_not_at_its_default_is_another_setting(
    run: Run, change: Callable[[dict[str, Any]], Any], told: str
) -> None:
    with pytest.raises(RunError, match=told):
        resume_after_change(run, change)


def test_a_job_restarts_once_and_its_retries_go_on(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(run)
    for job, resumed in (("job_1", False), ("job_1", True), ("job_2", False), (None, False)):
        if job is None:
            monkeypatch.delenv("ANYSCALE_HA_JOB_ID")
        else:
            monkeypatch.setenv("ANYSCALE_HA_JOB_ID", job)
        assert run.prepare(SETTINGS, resume="auto", restart=True) is resumed
        begin(run)


def test_restart_begins_again_and_keeps_published_policies(any_root: str) -> None:
    run = Run(Storage.open(any_root), "run-a")
    begin(run)
    run.storage.write("runs/run-a/policies/v1/manifest.json", b"{}")
    run.storage.write("runs/run-a/trial-1/checkpoint_000001/state", b"x")
    run.storage.write("runs/run-a/progress.csv", b"trial")
    run.storage.write("runs/run-b/run.json", b"{}")
    assert run.prepare(SETTINGS | {"lr": 0.1}, resume="auto", restart=True) is False
    assert run.storage.folders("runs/run-a") == ["policies"]
    assert run.storage.files("runs/run-a") == ["run.json"]
    assert b'"lr": 0.1' in run.storage.read("runs/run-a/run.json")
    assert run.storage.read("runs/run-a/policies/v1/manifest.json") == b"{}"
    assert run.storage.read("runs/run-b/run.json") == b"{}"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"null", b"[1]"])
def test_settings_that_are_damaged_are_named(run: Run, content: bytes) -> None:
    begin(run)
    run.storage.write("runs/run-a/run.json", content)
    with pytest.raises(RunError, match=r"run\.json.*--restart"):
        run.prepare(SETTINGS, resume="auto", restart=False)


def test_a_run_of_an_older_version_is_refused_and_not_touched(run: Run) -> None:
    run.storage.write("runs/run-a/run.json", json.dumps(SETTINGS).encode())
    run.storage.write("runs/run-a/experiment_state-2026.json", b"{}")
    run.storage.write("runs/run-a/t-0/checkpoint_000001/files.json", b"{}")
    for resume in ("auto", "never", "must"):
        with pytest.raises(RunError, match=r"older version.*--restart"):
            run.prepare(SETTINGS, resume=resume, restart=False)
    assert len(run.storage.files("runs/run-a")) == 2
    assert run.storage.folders("runs/run-a/t-0") == ["checkpoint_000001"]
    assert run.prepare(SETTINGS, resume="auto", restart=True) is False


@pytest.mark.parametrize("name", ["", "first try", "../../x", "-x", "a/b", "x" * 101, "größe"])
def test_a_name_that_cannot_name_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="run name"):
        Run(Storage.open(str(tmp_path)), name)


def test_storage_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = Run(Storage.open(str(tmp_path / "file")), "run-a")
    with pytest.raises(StorageError, match=r"storage root .*file"):
        run.prepare(SETTINGS, resume="auto", restart=False)


def test_a_job_s_retries_share_a_name_and_its_next_submission_does_not() -> None:
    assert default_run_name("published", {"ANYSCALE_HA_JOB_ID": "prodjob_1"}) == "prodjob_1"
    assert default_run_name("published", {"ANYSCALE_JOB_ID": "prodjob_2"}) == "prodjob_2"


def test_elsewhere_a_run_is_named_by_recipe_and_time() -> None:
    assert default_run_name("published", {}).startswith("published-2")
