"""The shipped files, run: the job that the command line submitted trains on a Ray cluster and
publishes to S3, and the service that it deployed serves the newest policy from there.

Both run the code that was uploaded, and find each other through the artifact storage's address
alone, as they do on Anyscale.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import imageio.v3 as iio
import numpy as np
import pytest
from pyarrow import fs

from app.client import Client
from benchmarks.support.running import free_port
from tests.anyscale.cluster import Cluster, start_cluster, wait_for
from tests.anyscale.conftest import BUCKET, REVISION, Anyscale, Job
from tests.support.waiting import PATIENCE_S
from training.store.policies import PolicyStore
from training.store.storage import Storage

pytestmark = pytest.mark.long

SMALLER = (
    "--skip-asha --max-iters 3 --finetune-at 2 --checkpoint-every 1 "
    "--num-env-runners 2 --train-batch-size-per-learner 256 --minibatch-size 64 --num-epochs 1"
)
ARTIFACTS = f"{BUCKET}/artifacts"


@dataclass(frozen=True)
class Served:
    """The service as its callers know it."""

    url: str
    token: str


@pytest.fixture(scope="module")
def cluster(
    anyscale: Anyscale, job: Job, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """The nodes that the job asked for, and what Anyscale's environment says there."""
    variables = {
        **anyscale.s3.variables,
        "ANYSCALE_ARTIFACT_STORAGE": f"s3://{ARTIFACTS}",
        "ANYSCALE_HA_JOB_ID": job.id,
    }
    nodes = anyscale.control_plane.compute_configs.find(job.sent["config"]["compute_config_id"])
    head_cpus = nodes.config["head_node_type"]["resources"]["cpu"]
    folder = tmp_path_factory.mktemp("cluster")
    with start_cluster(folder, variables, head_cpus=head_cpus, worker_cpus=4) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def trained(cluster: Cluster, job: Job) -> str:
    """The submitted entrypoint as a Ray job, with the submitted environment; what it printed."""
    submitted = job.sent["config"]
    entrypoint = f"{submitted['entrypoint']} {SMALLER}"
    return cluster.run_job(
        *("--runtime-env-json", json.dumps(submitted["runtime_env"])),
        *("--", *entrypoint.split()),
    )


@pytest.fixture(scope="module")
def served(
    anyscale: Anyscale,
    cluster: Cluster,
    trained: str,
    service: dict[str, Any],
    status: dict[str, Any],
) -> Served:
    """The submitted application on the same cluster, behind the gateway."""
    port = free_port()
    config = service["ray_serve_config"]
    options = {**config["http_options"], "host": "127.0.0.1", "port": port}
    # One proxy, as the nodes share one address here.
    here = {"http_options": options, "proxy_location": "HeadOnly"}
    file = cluster.folder / "serve.json"
    file.write_text(json.dumps({**config, **here}))
    cluster.run("serve", "deploy", str(file))
    address = f"http://127.0.0.1:{port}"
    wait_for(f"{address}/health/ready", lambda response: response.is_success)
    anyscale.gateway.services[status["query_auth_token"]] = address
    return Served(status["query_url"], status["query_auth_token"])


def test_the_job_trains_in_both_phases_on_the_t4_s_node(trained: str, job: Job) -> None:
    assert f"starting run {job.id}" in trained
    assert "learns on 1 GPU (the cluster has 4 CPUs and 1 GPUs)" in trained
    assert "explore" in trained
    assert "finetune" in trained


def test_the_job_publishes_to_the_bucket(trained: str, anyscale: Anyscale, job: Job) -> None:
    bucket = anyscale.s3.filesystem()
    root = f"{ARTIFACTS}/carracing-ppo"
    run = f"{root}/runs/{job.id}"
    assert bucket.get_file_info(f"{run}/best_config.json").type == fs.FileType.File
    store = PolicyStore(Storage(f"s3://{root}", bucket, root))
    published = store.listing().policies
    assert [each.iteration for each in published] == [3, 2, 1]
    assert {each.git_revision for each in published} == {REVISION}


def test_only_who_has_the_token_gets_to_the_service(served: Served) -> None:
    assert httpx.get(f"{served.url}/policy", timeout=PATIENCE_S).status_code == 401
    shown = {"Authorization": f"Bearer {served.token}"}
    assert httpx.get(f"{served.url}/policy", headers=shown, timeout=PATIENCE_S).status_code == 200


def test_the_service_acts_with_the_policy_that_the_job_published(served: Served, job: Job) -> None:
    with Client(served.url, served.token, timeout_s=PATIENCE_S) as client:
        decision = client.act(np.zeros((2, 84, 84, 4), np.uint8))
    assert decision.policy.startswith(f"{job.id}-")
    assert decision.source == "storage"
    assert decision.actions.shape == (2, 3)
    assert (decision.actions >= [-1, 0, 0]).all()
    assert (decision.actions <= [1, 1, 1]).all()


def test_the_service_films_it(served: Served) -> None:
    with Client(served.url, served.token, timeout_s=PATIENCE_S) as client:
        film = client.gif(7, max_steps=200)
    frames = iio.imread(film, extension=".gif", index=None)
    assert len(np.unique(frames.reshape(len(frames), -1), axis=0)) > 20


def test_the_service_draws_the_job_s_curve(served: Served) -> None:
    shown = {"Authorization": f"Bearer {served.token}"}
    data = httpx.get(f"{served.url}/curve.json", headers=shown, timeout=PATIENCE_S).json()
    assert data["iteration"] == [1, 2, 3]
    assert data["finetune_at"] == 2
    picture = httpx.get(f"{served.url}/curve.png", headers=shown, timeout=PATIENCE_S)
    assert picture.headers["content-type"] == "image/png"
    assert iio.imread(picture.content, extension=".png").shape[1] > 400
