"""The real service: Ray, Serve and HTTP, started as a person starts it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from benchmarks.support.running import free_port
from tests.app.conftest import NPY, npy, pictures
from tests.conftest import build_actor, build_manifest
from tests.support.waiting import PATIENCE_S, wait_until
from training.policy.acting import weights_to_bytes
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore

BODY = pictures(84, 84, 4)
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Running:
    """A service in a process of its own."""

    process: subprocess.Popen[str]
    client: httpx.Client
    store: PolicyStore
    log: Path

    def act(self) -> httpx.Response:
        return self.client.post("/act", content=npy(BODY), headers=NPY)

    def drive(self, query: str) -> ClientConnection:
        url = self.client.base_url.copy_with(scheme="ws").join(f"/drive?{query}")
        shown = {
            name: self.client.headers[name]
            for name in self.client.headers
            if name == "authorization"
        }
        return connect(str(url), proxy=None, open_timeout=PATIENCE_S, additional_headers=shown)

    def wait_for(self, ref: PolicyRef) -> None:
        """Query until this policy decides; every query has to succeed."""

        def decides() -> bool:
            response = self.act()
            assert response.status_code == 200, response.text
            return bool(response.json()["policy"] == ref.version)

        wait_until(decides)


def publish(store: PolicyStore, *, iteration: int = 1, run: str = "run-a") -> PolicyRef:
    weights = weights_to_bytes(build_actor(seed=iteration))
    return store.publish(build_manifest(weights, iteration=iteration, run=run), weights)


def close_of(socket: ClientConnection) -> tuple[int | None, str | None]:
    """The code and the reason with which the service closes a drive."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            socket.recv(timeout=PATIENCE_S)
    return socket.close_code, socket.close_reason


def processes_of(marker: str) -> dict[int, str]:
    """Live processes whose environment holds a text: their command lines by id."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if marker.encode() in environment and command:
            found[int(folder.name)] = command
    return found


def memory_of(service: Running) -> int:
    """Bytes of memory that the processes of a service hold in all, what they share counted once."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if service.store.storage.root.encode() in (folder / "environ").read_bytes():
                rollup = (folder / "smaps_rollup").read_text()
                total += 1024 * int(re.findall(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)[0])
        except OSError:
            continue
    return total


@contextmanager
def run_service(
    folder: Path, *, replicas: int = 1, host: str = "127.0.0.1", **variables: str
) -> Iterator[Running]:
    """Start it in an empty folder with these variables of the environment, and end it as Ctrl-C.

    It has to end well, without a traceback in its lines, and without a process left.
    """
    root, log, port = folder / "store", folder / "log", free_port()
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CARRACING_", "ANYSCALE_", "RAY_ADDRESS"))
    }
    environment |= {
        "CARRACING_STORAGE": str(root),
        "CARRACING_POLL_INTERVAL_S": "0.5",
    }
    environment |= variables
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "app.local", "--host", host),
                *("--port", str(port), "--replicas", str(replicas)),
            ],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    # The service may close an idle connection at the moment when it is used again.
    limits = httpx.Limits(max_keepalive_connections=0)
    address = httpx.URL(scheme="http", host=host, port=port)
    with httpx.Client(base_url=address, timeout=PATIENCE_S, limits=limits) as client:
        try:
            wait_until(lambda: "listening on" in log.read_text() or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield Running(process, client, PolicyStore.open(str(root)), log)
            process.send_signal(signal.SIGTERM)
            status = process.wait(PATIENCE_S)
        finally:
            if process.poll() is None:
                # It would take the cores of every test that follows.
                kill(processes_of(str(root)))
                process.wait()
    assert status == 0, log.read_text()
    lines = log.read_text().splitlines()
    # Serve may have something to say in between.
    assert any(line.startswith("stopping") for line in lines), lines
    assert lines[-1] == "stopped", lines
    # Serve itself may report a client that left in the middle of an answer, or a killed replica.
    serve = ("(ProxyActor", "(ServeController")
    ours = [line for line in lines if not any(actor in line for actor in serve)]
    assert "Traceback" not in "\n".join(ours)
    wait_until(lambda: not processes_of(str(root)))


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
