"""The shipped files, run: job.yaml's entrypoint trains on a Ray cluster, service.yaml serves it.

Both get their code as an upload of the working directory, made by Anyscale's own packer, and find
each other through the artifact storage's address alone, as they do on Anyscale.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import imageio.v3 as iio
import numpy as np
import pytest
from anyscale.job.models import JobConfig
from anyscale.service.models import ServiceConfig
from anyscale.utils.runtime_env import zip_local_dir

from app.client import Client

ROOT = Path(__file__).resolve().parent.parent

# Raised inside the SDK's packaging, whose dependency is newer than it.
pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern")

SMALLER = (
    "--skip-asha --num-gpus 0 --max-iters 3 --finetune-at 2 --checkpoint-every 1 "
    "--num-env-runners 2 --train-batch-size-per-learner 512 --minibatch-size 64 --num-epochs 1"
)


COMMANDS = Path(sys.executable).parent
ENVIRONMENT = os.environ | {
    # The cluster listens on loopback only, and the test asks its dashboard as a browser would.
    "RAY_AUTH_MODE": "disabled",
    # `python` is this one, as it is the image's on Anyscale.
    "PATH": f"{COMMANDS}:{os.environ['PATH']}",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster as a job and a service meet it."""

    folder: Path
    dashboard: str
    artifacts: Path
    """What ANYSCALE_ARTIFACT_STORAGE names."""

    def ray(self, *arguments: str, timeout: float = 120) -> str:
        """Run a command of Ray's; its output."""
        environment = ENVIRONMENT | {
            "RAY_API_SERVER_ADDRESS": self.dashboard,
            "RAY_DASHBOARD_ADDRESS": self.dashboard,
        }
        deadline = time.monotonic() + 60
        while True:
            done = subprocess.run(
                [str(COMMANDS / arguments[0]), *arguments[1:]],
                cwd=self.folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
            # A node's agent joins some seconds after its dashboard answers.
            if "No available agent" not in done.stderr or time.monotonic() > deadline:
                break
            time.sleep(1)
        assert done.returncode == 0, f"{arguments}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster in its own folder: nothing of the checkout is on its path."""
    folder = tmp_path_factory.mktemp("cluster")
    dashboard = free_port()
    # It blocks, so that ending this process ends this cluster and no other.
    process = subprocess.Popen(
        [
            *(str(COMMANDS / "ray"), "start", "--head", "--block"),
            *("--node-ip-address", "127.0.0.1", "--port", str(free_port())),
            *("--dashboard-port", str(dashboard), "--num-cpus", "4", "--disable-usage-stats"),
            # Its default is one fixed port, which another cluster on this machine may have.
            *("--dashboard-agent-listen-port", str(free_port())),
        ],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{dashboard}"
    try:
        wait_for(f"{address}/api/version", lambda response: response.is_success)
        yield Cluster(folder, address, folder / "artifacts")
    finally:
        process.terminate()
        process.wait(60)


def wait_for(
    address: str, satisfied: Callable[[httpx.Response], bool], timeout_s: float = 180
) -> None:
    """Ask until an answer satisfies, or fail with the last one."""
    deadline = time.monotonic() + timeout_s
    answer = "nothing"
    while time.monotonic() < deadline:
        try:
            response = httpx.get(address, timeout=10)
        except httpx.TransportError as error:
            answer = repr(error)
        else:
            if satisfied(response):
                return
            answer = response.text
        time.sleep(0.5)
    pytest.fail(f"{address} after {timeout_s:g} s: {answer}")


def upload(workload: Any, folder: Path, name: str) -> Path:
    """The working directory as the SDK packs it for this workload."""
    archive = folder / f"{name}.zip"
    with zip_local_dir(str(ROOT), excludes=workload.excludes) as (_, content, _):
        archive.write_bytes(content)
    return archive


@pytest.fixture(scope="module")
def trained(cluster: Cluster) -> str:
    """job.yaml's entrypoint as a Ray job; what it printed."""
    job = JobConfig.from_yaml(str(ROOT / "job.yaml"))
    archive = upload(job, cluster.folder, "job")
    runtime_env = {
        "working_dir": f"file://{archive}",
        "env_vars": {
            **(job.env_vars or {}),
            "ANYSCALE_ARTIFACT_STORAGE": str(cluster.artifacts),
            "ANYSCALE_HA_JOB_ID": "prodjob_test",
        },
    }
    entrypoint = f"{job.entrypoint} {SMALLER}"
    return cluster.ray(
        *("ray", "job", "submit", "--runtime-env-json", json.dumps(runtime_env)),
        *("--", *entrypoint.split()),
        timeout=300,
    )


@pytest.fixture(scope="module")
def served(cluster: Cluster, trained: str) -> str:
    """service.yaml's application on the same cluster; its address."""
    service = ServiceConfig.from_yaml(str(ROOT / "service.yaml"))
    archive = upload(service, cluster.folder, "service")
    port = free_port()
    (application,) = service.applications
    config = {
        "applications": [
            {
                **application,
                "runtime_env": {
                    "working_dir": f"file://{archive}",
                    "env_vars": {
                        **(service.env_vars or {}),
                        "ANYSCALE_ARTIFACT_STORAGE": str(cluster.artifacts),
                    },
                },
            }
        ],
        "http_options": {**service.http_options, "host": "127.0.0.1", "port": port},
        "logging_config": service.logging_config,
    }
    file = cluster.folder / "serve.json"
    file.write_text(json.dumps(config))
    cluster.ray("serve", "deploy", str(file))
    address = f"http://127.0.0.1:{port}"
    wait_for(f"{address}/health/ready", lambda response: response.is_success)
    return address


def test_the_job_trains_in_both_phases_and_publishes(trained: str, cluster: Cluster) -> None:
    assert "starting run prodjob_test" in trained
    assert "explore" in trained
    assert "stabilize" in trained
    run = cluster.artifacts / "carracing-ppo" / "runs" / "prodjob_test"
    assert len(list((run / "policies").iterdir())) == 3
    assert (run / "best_config.json").exists()


def test_the_service_acts_with_the_policy_that_the_job_published(served: str) -> None:
    with Client(served) as client:
        decision = client.act(np.zeros((2, 84, 84, 4), np.uint8))
    assert decision.policy.startswith("prodjob_test-000003-")
    assert decision.source == "storage"
    assert decision.actions.shape == (2, 3)
    assert (decision.actions >= [-1, 0, 0]).all()
    assert (decision.actions <= [1, 1, 1]).all()


def test_the_service_films_it(served: str) -> None:
    with Client(served) as client:
        film = client.gif(7, max_steps=200)
    frames = iio.imread(film, extension=".gif", index=None)
    assert len(np.unique(frames.reshape(len(frames), -1), axis=0)) > 20


def test_the_service_draws_the_job_s_curve(served: str) -> None:
    data = httpx.get(f"{served}/curve.json", timeout=60).json()
    assert data["iteration"] == [1, 2, 3]
    assert data["finetune_at"] == 2
    picture = httpx.get(f"{served}/curve.png", timeout=60)
    assert picture.headers["content-type"] == "image/png"
    assert iio.imread(picture.content, extension=".png").shape[1] > 400
