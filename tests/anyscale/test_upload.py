"""What the command line uploads of a checkout that has been worked in."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest

from tests.anyscale.conftest import Anyscale, Job, Project


@pytest.fixture
def archive(anyscale: Anyscale, job: Job) -> bytes:
    return anyscale.download(job.sent["config"]["runtime_env"]["working_dir"])


def test_it_holds_what_git_knows_but_the_tests_and_nothing_else(
    archive: bytes, project: Project
) -> None:
    with zipfile.ZipFile(io.BytesIO(archive)) as content:
        names = set(content.namelist())
    code = {name for name in project.tracked if not name.startswith("tests/")}
    assert {"training/train.py", "app/main.py", "app/bundled/policy.safetensors"} <= code
    # Ray takes an archive with one folder at its top, and runs the code in that.
    assert names == {f"{project.folder.name}/{name}" for name in code}


def test_it_is_small(archive: bytes) -> None:
    assert len(archive) < 15_000_000


def test_the_service_has_the_same_one(
    anyscale: Anyscale, job: Job, service: dict[str, Any]
) -> None:
    (application,) = service["ray_serve_config"]["applications"]
    uploaded = job.sent["config"]["runtime_env"]["working_dir"]
    assert application["runtime_env"]["working_dir"] == uploaded
    assert set(anyscale.control_plane.uploads.uris) == {uploaded}
