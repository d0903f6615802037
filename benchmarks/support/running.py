"""Start the measured servers, wait until they are up, and stop them."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.support.environments import SERVERS, peers_python

_ROOT: Final = Path(__file__).parents[2]
_UP_S: Final = 600.0
_DOWN_S: Final = 180.0
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
_OTHERS: Final = ("CARRACING_", "ANYSCALE_", "RAY_ADDRESS")
"""How variables begin that would have another service measured."""
NPY: Final = "application/x-npy"
SMALL_CACHE: Final = {"CARRACING_FILM_CACHE_BYTES": f"{16 << 20}"}
"""For a service whose memory is watched: soon full, so that what grows later is not the films."""


_HELD: Final[list[socket.socket]] = []
"""Sockets of ``free_port`` that never listen."""


class ServerError(Exception):
    """A server that does not come up; the message is what it said last."""


@dataclass(frozen=True)
class Server:
    """A server of the bundled policy that answers ``POST /act``."""

    title: str
    module: str
    """What is run, with the port as its last argument."""
    arguments: tuple[str, ...] = ()
    peer: bool = False
    """Whether it runs in the peers' environment."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def python(self) -> Path:
        """Its interpreter; raises PeersError."""
        return peers_python(SERVERS) if self.peer else Path(sys.executable)


OURS: Final = Server("this service", "app.local", ("--port",))
"""As it starts by itself: two replicas where there are two cores."""
ONE_REPLICA: Final = Server("this service, one replica", "app.local", ("--replicas", "1", "--port"))


@dataclass(frozen=True)
class Running:
    """A server that is up."""

    pid: int
    port: int
    store: Path
    """The storage root that this project's service reads."""
    log: Path = Path(os.devnull)
    """What it prints."""

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


def free_port() -> int:
    """A free port, reserved for this process while it runs."""
    held = socket.socket()
    # Servers set this as well, and may then listen beside a socket that only holds the port.
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port: int = held.getsockname()[1]
    if sys.platform == "linux":
        _HELD.append(held)
    else:
        held.close()
    return port


def inherited() -> dict[str, str]:
    """The variables that a server has of whoever measures it."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OTHERS)}


@contextmanager
def running(server: Server, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Start a server, wait until it acts, and end it afterwards.

    Args:
        server: Which one.
        environment: More variables for it.

    Raises:
        ServerError: It does not come up.
        PeersError: Its environment could not be installed.
    """
    python, port = server.python(), free_port()
    with (
        _ends_when_told(),
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        (Path(folder) / "log").open("w+") as log,
    ):
        store = Path(folder) / "store"
        process = subprocess.Popen(  # noqa: S603
            [python, "-m", server.module, *server.arguments, str(port)],
            cwd=_ROOT,
            env=inherited()
            | _ONE_THREAD
            | {"CARRACING_STORAGE": str(store), "PYTHONPATH": str(_ROOT)}
            | dict(server.environment)
            | dict(environment or {}),
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        try:
            found = Running(process.pid, port, store, Path(log.name))
            if not _acts(found, process):
                log.seek(0)
                raise ServerError((log.read().strip() or "it said nothing").splitlines()[-1])
            yield found
        finally:
            _end(process)


@contextmanager
def _ends_when_told() -> Iterator[None]:
    """SIGTERM ends this process as Ctrl-C does: not without ending what it has started."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _acts(server: Running, process: subprocess.Popen[bytes]) -> bool:
    """Wait until it answers; whether it does."""
    body = to_npy(np.zeros((84, 84, 4), np.uint8))
    deadline = time.monotonic() + _UP_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            asked = httpx.post(f"{server.url}/act", content=body, headers={"Content-Type": NPY})
            # One that needs a token refuses this without one, as soon as it acts.
            if asked.is_success or asked.status_code == httpx.codes.UNAUTHORIZED:
                return True
        time.sleep(0.2)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_DOWN_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def to_npy(array: NDArray[Any]) -> bytes:
    """An array as ``numpy.save`` writes it."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
