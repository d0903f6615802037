"""The commands of README's "On Anyscale", run once for all tests of this folder."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.anyscale.command_line import CommandLine
from tests.anyscale.control_plane import ControlPlane
from tests.anyscale.gateway import Gateway
from tests.app.live import listen
from tests.s3_server import S3Server, serve_s3

ROOT = Path(__file__).resolve().parents[2]
BUCKET = "cloud-bucket"
REVISION = "0123456789abcdef0123456789abcdef01234567"

LEFTOVERS = (
    *(".env", ".env.local", ".git/config", ".hypothesis/examples/a", "score.json"),
    *(".venv/pyvenv.cfg", ".venv-peers/pyvenv.cfg", ".venv-serving-peers/pyvenv.cfg"),
    *("results/run/policy.safetensors", "results-gpu/run/policy.safetensors", "drive.gif"),
    *("training/__pycache__/train.cpython-311.pyc", ".pytest_cache/README.md", "train.log"),
    *(".mypy_cache/3.11/a.json", ".ruff_cache/a", ".coverage", "htmlcov/index.html"),
)
"""What working in a checkout leaves in it."""


@dataclass(frozen=True)
class Project:
    """A checkout that has been worked in."""

    folder: Path
    tracked: frozenset[str]
    """The files that git knows."""


@dataclass(frozen=True)
class Anyscale:
    """An account of the stand-in's, and what its cloud has."""

    control_plane: ControlPlane
    gateway: Gateway
    s3: S3Server
    command_line: CommandLine

    def run(self, *arguments: str) -> str:
        """Run a command; what it printed. Nothing that it called may be unknown here."""
        printed = self.command_line(*arguments)
        assert self.control_plane.unknown == []
        return printed

    def download(self, uri: str) -> bytes:
        """A file out of the cloud's bucket."""
        with self.s3.filesystem().open_input_stream(uri.removeprefix("s3://")) as stream:
            content: bytes = stream.read()
        return content


@dataclass(frozen=True)
class Job:
    """A submitted job."""

    id: str
    sent: dict[str, Any]


@pytest.fixture(scope="package")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of this checkout's tracked files, and among them what must not be uploaded."""
    folder = tmp_path_factory.mktemp("checkout") / "carracing"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    tracked = frozenset(filter(None, listed.stdout.split("\0")))
    for name in (*tracked, *LEFTOVERS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    for name in tracked:
        shutil.copy(ROOT / name, folder / name)
    for name in LEFTOVERS:
        (folder / name).write_text("secret")
    return Project(folder, tracked)


@pytest.fixture(scope="package")
def anyscale(project: Project) -> Iterator[Anyscale]:
    gateway = Gateway()
    with serve_s3() as s3, listen(gateway) as url:
        s3.filesystem().create_dir(BUCKET)
        plane = ControlPlane(bucket=BUCKET, endpoint=s3.endpoint, service_url=url)
        with listen(plane) as host:
            yield Anyscale(plane, gateway, s3, CommandLine(project.folder, host))


@pytest.fixture(scope="package")
def job(anyscale: Anyscale) -> Job:
    """README's first command, and job.yaml's advice on the commit."""
    anyscale.run("job", "submit", "-f", "job.yaml", "--env", f"CARRACING_GIT_REVISION={REVISION}")
    return _newest(anyscale)


@pytest.fixture(scope="package")
def registered(anyscale: Anyscale) -> str:
    """The name under which compute_config.yaml is registered."""
    name = "carracing-t4"
    anyscale.run("compute-config", "create", "-n", name, "-f", "compute_config.yaml")
    return name


@pytest.fixture(scope="package")
def other_job(anyscale: Anyscale, job: Job, registered: str) -> Job:
    """A second job, with another entrypoint and a compute config that has a name."""
    anyscale.run(
        *("job", "submit", "-f", "job.yaml", "--compute-config", registered, "--"),
        *("python", "-m", "training.train", "--recipe", "published", "--num-gpus", "1"),
    )
    return _newest(anyscale)


@pytest.fixture(scope="package")
def service(anyscale: Anyscale, job: Job) -> dict[str, Any]:
    """What was sent of the service, that is deployed after the job."""
    anyscale.run("service", "deploy", "-f", "service.yaml")
    ((_, sent),) = anyscale.control_plane.services.applied.items()
    assert isinstance(sent, dict)
    return sent


@pytest.fixture(scope="package")
def status(anyscale: Anyscale, service: dict[str, Any]) -> dict[str, Any]:
    """What its callers are told."""
    printed = json.loads(anyscale.run("service", "status", "--json", "-n", "carracing"))
    assert isinstance(printed, dict)
    return printed


def _newest(anyscale: Anyscale) -> Job:
    return Job(*list(anyscale.control_plane.jobs.submitted.items())[-1])
