"""A worker node that is drained and taken away while a trial runs on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from tests.support.waiting import PATIENCE_S, wait_until
from tests.training.running import TINY, training
from training.store.policies import PolicyStore

pytestmark = pytest.mark.long

WORKER = {"num_cpus": 2, "dashboard_agent_listen_port": None}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head node without CPUs, as in ``job.yaml``."""
    cluster = Cluster()
    head = {"num_cpus": 0, "include_dashboard": False, "dashboard_port": None}
    cluster.add_node(**head, dashboard_agent_listen_port=None)
    yield cluster
    cluster.shutdown()


def test_the_trial_is_published_before_its_node_goes_and_continues_on_another(
    cluster: Cluster, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    first = cluster.add_node(**WORKER)
    options = ["--run-name", "d", *TINY, "--checkpoint-every", "1000", "--max-iters", "1000"]
    joining = {"RAY_ADDRESS": cluster.address}
    with training(root, *options, log=tmp_path / "log", environment=joining) as running:
        running.wait_for_more(2)
        store = PolicyStore.open(str(root))
        assert store.listing().policies == []
        subprocess.run(
            [
                *(Path(sys.executable).with_name("ray"), "drain-node"),
                *("--address", cluster.address, "--node-id", first.node_id),
                *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "a test"),
                *("--deadline-remaining-seconds", "3600"),
            ],
            check=True,
            capture_output=True,
            timeout=PATIENCE_S,
        )
        wait_until(lambda: store.listing().policies)
        cluster.add_node(**WORKER)
        before = running.iterations()
        cluster.remove_node(first, allow_graceful=False)
        wait_until(lambda: "continues after iteration" in running.output)
        running.wait_for_more(1)
        running.process.terminate()
        running.process.wait()
    iterations = running.iterations()
    assert all(last < next_ for last, next_ in pairwise(iterations)), "none is trained again"
    assert iterations[-1] > before[-1]
    assert "its node is being drained" in running.output
