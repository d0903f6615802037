"""A Ray cluster as Anyscale starts it for a job: a head without CPUs, and a node with a T4."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from benchmarks.support.running import free_port
from tests.anyscale import t4
from tests.support.waiting import PATIENCE_S, wait_until

COMMANDS = Path(sys.executable).parent
# Of who runs the tests: an account, storage, a cluster.
_NOT_THERE = ("ANYSCALE_", "AWS_", "CARRACING_", "RAY_")
# A node's agent joins some seconds after its dashboard answers, which may drop requests until then.
_TOO_EARLY = ("No available agent", "Connection aborted")
_ATTEMPTS = 5
_NODE = ("--block", "--disable-usage-stats", "--node-ip-address", "127.0.0.1")


def wait_for(address: str, satisfied: Callable[[httpx.Response], bool]) -> None:
    """Ask until an answer satisfies, or fail with the last one."""
    deadline = time.monotonic() + PATIENCE_S
    answer = "nothing"
    while time.monotonic() < deadline:
        try:
            response = httpx.get(address, timeout=PATIENCE_S)
        except httpx.TransportError as error:
            answer = repr(error)
        else:
            if satisfied(response):
                return
            answer = response.text
        time.sleep(0.5)
    pytest.fail(f"{address} after {PATIENCE_S:g} s: {answer}")


@dataclass(frozen=True)
class Cluster:
    """A running cluster."""

    folder: Path
    dashboard: str
    environment: Mapping[str, str]

    def said(self) -> str:
        """What the nodes have printed."""
        return "".join(log.read_text() for log in sorted(self.folder.glob("*.log")))

    def run(self, *arguments: str) -> str:
        """Run a command of Ray's; its output."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            done = subprocess.run(
                [str(COMMANDS / arguments[0]), *arguments[1:]],
                cwd=self.folder,
                env={
                    **self.environment,
                    "RAY_API_SERVER_ADDRESS": self.dashboard,
                    "RAY_DASHBOARD_ADDRESS": self.dashboard,
                },
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
            if time.monotonic() > deadline or not any(text in done.stderr for text in _TOO_EARLY):
                break
            time.sleep(1)
        assert done.returncode == 0, (
            f"{arguments}: {done.stdout[-3000:]}{done.stderr[-3000:]}{self.said()[-6000:]}"
        )
        return done.stdout

    def run_job(self, *arguments: str) -> str:
        """Submit a job with ``ray job submit`` and wait for its end; what it printed.

        It fails if the job fails, or prints nothing new for a long time.
        """
        name = f"job-{uuid4().hex}"
        # The command itself would wait without a limit, and a limit on it would leave no logs.
        self.run("ray", "job", "submit", "--no-wait", "--submission-id", name, *arguments)
        job = f"{self.dashboard}/api/jobs/{name}"
        printed, status, deadline = "", "PENDING", time.monotonic() + PATIENCE_S
        with httpx.Client(timeout=PATIENCE_S) as client:
            while status in ("PENDING", "RUNNING"):
                time.sleep(1)
                status = client.get(job).json()["status"]
                logs: str = client.get(f"{job}/logs").json()["logs"]
                if logs != printed:
                    printed, deadline = logs, time.monotonic() + PATIENCE_S
                if time.monotonic() > deadline:
                    client.post(f"{job}/stop")
                    status = f"silent for {PATIENCE_S:g} s"
        assert status == "SUCCEEDED", f"{status}: {printed[-6000:]}{self.said()[-6000:]}"
        return printed


@contextmanager
def start_cluster(
    folder: Path, variables: Mapping[str, str], *, head_cpus: float, worker_cpus: float
) -> Iterator[Cluster]:
    """Start a head and a node with a GPU that Ray takes to be there.

    Args:
        folder: An empty one, in which all of it runs: nothing of the checkout is on its path.
        variables: That every process of it has in its environment.
        head_cpus: Of the head, for Ray to give.
        worker_cpus: Of the other node.
    """
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(_NOT_THERE)},
        # It listens on loopback only, and a test asks its dashboard as a browser would.
        "RAY_AUTH_MODE": "disabled",
        # A node that is told to end would give what runs there half a minute.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        # `python` is this one, as it is the image's on Anyscale.
        "PATH": f"{COMMANDS}:{os.environ['PATH']}",
        **variables,
    }
    on_path = folder / "path"
    on_path.mkdir()
    shutil.copy(t4.__file__, on_path)
    with_t4 = {
        **environment,
        "PYTHONPATH": str(on_path),
        # Ray's own name for what runtime environments call worker_process_setup_hook.
        "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR": f"t4.{t4.compute_on_the_cpu.__name__}",
    }
    gcs, dashboard = free_port(), free_port()
    address = f"http://127.0.0.1:{dashboard}"
    head = (
        *("--head", "--port", f"{gcs}", "--dashboard-port", f"{dashboard}"),
        *("--ray-client-server-port", f"{free_port()}"),
    )
    worker = ("--address", f"127.0.0.1:{gcs}", "--num-gpus", "1")
    with ExitStack() as nodes:
        nodes.enter_context(_node(folder, environment, *head, "--num-cpus", f"{head_cpus:g}"))
        # Of the dashboard's parts, each a process, this is the one that jobs are submitted to.
        wait_for(f"{address}/api/jobs/", lambda response: response.is_success)
        nodes.enter_context(_node(folder, with_t4, *worker, "--num-cpus", f"{worker_cpus:g}"))
        yield Cluster(folder, address, environment)


@contextmanager
def _node(folder: Path, environment: Mapping[str, str], *arguments: str) -> Iterator[None]:
    """A node that has joined its cluster, and ends with this."""
    with tempfile.TemporaryDirectory(
        prefix="ray-", dir="/tmp", ignore_cleanup_errors=True
    ) as files:
        command = [
            *(str(COMMANDS / "ray"), "start", *_NODE, *arguments),
            # A node unpacks the working directory among its own files. The path must be short,
            # for sockets are among them.
            *("--temp-dir", files),
            # Its default is one fixed port, which another node on this machine may have.
            *("--dashboard-agent-listen-port", str(free_port())),
            # Any free ones. Of the default range two nodes may give their workers the same.
            *("--min-worker-port", "0", "--max-worker-port", "0"),
        ]
        for attempt in range(_ATTEMPTS):
            log = folder / f"{Path(files).name}-{attempt}.log"
            with log.open("w") as output:
                # The command blocks, so that nothing else has to be told to end.
                process = subprocess.Popen(
                    command,
                    cwd=folder,
                    env=dict(environment),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            try:
                wait_until(partial(_has_started_or_ended, process, log))
                if process.poll() is None:
                    yield
                    return
                # On a busy machine: Ray gives a node 30 seconds, which no setting changes.
                assert "timed out during startup" in log.read_text(), log.read_text()
            finally:
                _end(process)
        pytest.fail(f"{command}: {log.read_text()}")


def _has_started_or_ended(process: subprocess.Popen[bytes], log: Path) -> bool:
    return "Ray runtime started" in log.read_text() or process.poll() is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE_S)
    # Processes of its session that are still running.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
