"""Two Ray nodes with a HAProxy and a replica each, configured as the image configures them."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from app.local.environment import SERVE_VARIABLES, haproxy_variables
from app.local.ports import ReservedPorts
from benchmarks.support.running import free_port
from tests.app.conftest import NPY, npy
from tests.app.running import BODY, ROOT, kill, processes_of
from tests.support.waiting import PATIENCE_S, wait_until

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="every node has a loopback address"),
    pytest.mark.usefixtures("haproxy_binary"),
]
HEAD, WORKER = "127.0.0.1", "127.0.0.2"
SERVE = """
from ray import serve
from app.main import PolicyDeployment, RenderDeployment

serve.start(http_options={{"host": "0.0.0.0", "port": {port}}})
policies = PolicyDeployment.options(
    num_replicas=2, autoscaling_config=None, max_replicas_per_node=1
)
serve.run(policies.bind(RenderDeployment.bind()), name="carracing")
"""


class Node:
    """A Ray node: where its HAProxy answers, and what it counts."""

    def __init__(self, port: int, metrics_port: int) -> None:
        self.url = f"http://{HEAD}:{port}"
        self._metrics = f"http://{HEAD}:{metrics_port}/metrics"

    def act(self) -> int:
        """The status of a query; 0 without an answer."""
        try:
            answer = httpx.post(f"{self.url}/act", content=npy(BODY), headers=NPY, timeout=60)
        except httpx.TransportError:
            return 0
        return answer.status_code

    def answered(self) -> list[float]:
        """How many requests each replica has answered with 2xx through this HAProxy."""
        pattern = (
            r'^haproxy_server_http_responses_total\{proxy="http-carracing",'
            r'server="SERVE_REPLICA[^"]*",code="2xx"\} (\S+)$'
        )
        return [
            float(count)
            for count in re.findall(pattern, httpx.get(self._metrics).text, re.MULTILINE)
        ]


def start_node(address: str, variables: dict[str, str], *options: str) -> None:
    """Start a Ray node, and wait for it."""
    subprocess.run(
        [
            *(str(Path(sys.executable).with_name("ray")), "start", "--num-cpus=2"),
            *(f"--node-ip-address={address}", "--disable-usage-stats", *options),
        ],
        env=os.environ | variables,
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=PATIENCE_S,
    )


def kill_all(marker: str) -> None:
    """Kill every process with this in its environment."""

    def gone() -> bool:
        left = processes_of(marker)
        kill(left)
        return not left

    wait_until(gone)


def test_each_node_sends_requests_to_the_replicas_of_both(folder: Path, tmp_path: Path) -> None:
    gcs = free_port()
    nodes: list[Node] = []
    variables: list[dict[str, str]] = []
    marker, token = str(tmp_path / "store"), secrets.token_hex(32)
    frontends = [free_port(), free_port()]
    with ExitStack() as closing:
        for frontend in frontends:
            ports = closing.enter_context(ReservedPorts())
            below = folder / str(len(nodes))
            below.mkdir()
            variables.append(
                SERVE_VARIABLES
                | haproxy_variables(below, ports)
                | {
                    # Nodes of a real cluster have a port 8000 each.
                    "RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(frontends[1]),
                    "CARRACING_STORAGE": marker,
                    "RAY_AUTH_MODE": "token",
                    "RAY_AUTH_TOKEN": token,
                }
            )
            nodes.append(Node(frontend, ports.metrics))
        closing.callback(kill_all, marker)
        start_node(HEAD, variables[0], "--head", f"--port={gcs}", "--include-dashboard=false")
        start_node(WORKER, variables[1], f"--address={HEAD}:{gcs}")
        subprocess.run(
            [sys.executable, "-c", SERVE.format(port=frontends[0])],
            env=os.environ | variables[0] | {"RAY_ADDRESS": f"{HEAD}:{gcs}"},
            cwd=ROOT,
            check=True,
            capture_output=True,
            timeout=PATIENCE_S,
        )
        for node in nodes:
            wait_until(lambda: node.act() == 200)  # noqa: B023
            wait_until(lambda: len(node.answered()) == 2)  # noqa: B023
            statuses = {node.act() for _ in range(20)}
            assert statuses == {200}
            assert all(count > 0 for count in node.answered()), node.answered()
