"""Serve on this machine.

::

    python -m app.local --port 8000
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated

import tyro

from app.limits import RENDERER_CPUS, REPLICA_CPUS
from app.local.ending import end_service
from app.local.ports import NoPortsError, ReservedPorts
from app.local.proxy import METRICS_PORT, SWITCH, NoHAProxyError, haproxy_environment
from app.local.starting import StartError, start_ray, start_serve
from app.settings import PREFIX, Settings, SettingsError, load_settings
from training.store.storage import Storage, StorageError

OWN = "local"
"""The address of a Ray that is started for the service alone."""

_APPLICATION = "carracing"
_FRONT = ("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "app.local.front:middlewares")
# The application never holds its event loop for long; a thread of its own would cost each request
# several handovers.
_ONE_LOOP = ("RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD", "0")
# If the proxy is killed, it is missed after three of these, not after half a minute.
_MISSED = ("RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S", "1")
# Serve kills a proxy that needs more than five seconds to start, as it may on a busy machine.
_PATIENT = ("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "600")
# A driver waits so long for its own node; by default it is 30 seconds.
_PATIENT_RAY = ("RAY_raylet_start_wait_time_s", "300")


@dataclass(frozen=True)
class LocalOptions:
    """Serve the newest published policy on this machine, or the bundled one until there is one.

    A Ray of its own is started, unless RAY_ADDRESS names one that runs already.
    """

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""
    port: Annotated[int, tyro.conf.arg(metavar="1..65535")] = 8000
    """Port to listen on."""
    metrics_port: int | None = None
    """Port where Ray shows metrics to Prometheus; else a free one."""
    haproxy_metrics_port: int | None = None
    """Port where HAProxy shows its own; else a free one."""
    replicas: int | None = None
    """Processes that answer, so that one goes on where another dies; else two where there are two
    cores, and one on a cluster that is shared."""


class LocalError(Exception):
    """The service cannot be started as asked; the message says why."""


def authority(host: str, port: int | str) -> str:
    """Host and port as they stand in a URL: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_address(host: str, port: int) -> None:
    """Make sure that nobody listens there yet; raises LocalError.

    Serve's proxy shares a port that another Serve listens on, and takes half of its requests.
    """
    if not 1 <= port <= 65535:
        raise LocalError(f"port {port} does not exist; choose one from 1 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: a port that was left a moment ago is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        raise LocalError(f"host {host!r} is not known: {error.strerror}") from error
    except OSError as error:
        raise LocalError(
            f"{authority(host, port)} cannot be listened on ({error.strerror}); choose another "
            "with --port"
        ) from error


def choose_replicas(asked: int | None, cores: float) -> int:
    """How many processes are to answer on this machine.

    Raises:
        LocalError: Ray would wait for more cores than there are.
    """
    if asked is None:
        return min(2, max(1, int(cores)))
    most = int((cores - RENDERER_CPUS) / REPLICA_CPUS)
    if not 1 <= asked <= most:
        raise LocalError(f"--replicas is {asked}; on {cores:g} cores it can be from 1 to {most}")
    return asked


def pass_on(settings: Settings, root: str, cluster: str) -> dict[str, str]:
    """Set what the service's processes are to inherit; what a Ray elsewhere has to be told.

    Raises:
        LocalError: That would show the token.
    """
    os.environ["CARRACING_STORAGE"] = root
    if cluster == OWN:
        os.environ.update(
            [_FRONT, _ONE_LOOP, _MISSED, _PATIENT, _PATIENT_RAY],
            CARRACING_ACT_PENDING=str(settings.act_pending),
        )
        return {}
    if settings.api_token is not None:
        raise LocalError(
            f"the Ray at {cluster} would write the token to its logs; set CARRACING_API_TOKEN "
            "where that Ray is started, and not here"
        )
    return {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}


def serve_until_told(options: LocalOptions) -> None:
    """Serve until SIGINT or SIGTERM arrives.

    Raises:
        LocalError: The address is taken, or the Ray at RAY_ADDRESS is not there or not to be used.
        StartError: Ray or Serve does not start.
        SettingsError: The environment holds settings that are refused.
        StorageError: The storage root is no address of one.
    """
    check_address(options.host, options.port)
    settings = load_settings()
    # Absolute, as replicas may run in another folder.
    root = Storage.open(settings.root).root
    cluster = os.environ.get("RAY_ADDRESS") or OWN
    environment = pass_on(settings, root, cluster)

    # Ray takes a second to import: not before the address is known to be free.
    import ray

    from app.main import make_app

    told = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        if told.is_set():
            return
        told.set()
        raise KeyboardInterrupt

    logging.getLogger("ray.serve").setLevel("WARNING")
    # Before Ray, which would otherwise take SIGTERM for itself.
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    ending = contextlib.ExitStack()
    proxy_files = ending.enter_context(
        tempfile.TemporaryDirectory(prefix="carracing-", ignore_cleanup_errors=True)
    )
    try:
        say("starting Ray and the service; this takes some seconds")
        if cluster == OWN:
            environment |= choose_proxy(Path(proxy_files), ending, options, settings.act_pending)
        try:
            start_ray(
                address=cluster,
                include_dashboard=False,
                runtime_env={"env_vars": environment} if environment else None,
                logging_level="ERROR",
                _metrics_export_port=options.metrics_port if cluster == OWN else None,
            )
        except ConnectionError as error:
            raise LocalError(f"there is no Ray at RAY_ADDRESS={cluster}: {error}") from error
        signal.signal(signal.SIGTERM, stop)
        replicas = options.replicas or 1
        if cluster == OWN:
            replicas = choose_replicas(options.replicas, ray.cluster_resources()["CPU"])
        start_serve(
            make_app(replicas),
            (options.host, options.port) if cluster == OWN else None,
            {
                "http_options": {"host": options.host, "port": options.port},
                "logging_config": {
                    "encoding": settings.log_encoding,
                    # With HAProxy it warns that a second machine could not be reached on this
                    # address.
                    "log_level": "ERROR" if SWITCH in environment else "WARNING",
                },
            },
            name=_APPLICATION,
            route_prefix="/",
            logging_config={
                "encoding": settings.log_encoding,
                "log_level": settings.log_level,
                "enable_access_log": False,
            },
        )
        place = authority(options.host, options.port)
        say(f"listening on http://{place} (Ctrl-C stops it)")
        for node in ray.nodes():
            place = authority(node["NodeManagerAddress"], node["MetricsExportPort"])
            say(f"metrics for Prometheus are at http://{place}/metrics")
        if METRICS_PORT in environment:
            place = authority(options.host, environment[METRICS_PORT])
            say(f"those of HAProxy, which counts what is turned away, at http://{place}/metrics")
        say(f"policies are read from {root}")
        if settings.bundled:
            say("as long as there is none, the bundled policy drives")
        threading.Event().wait()
    except KeyboardInterrupt:
        say("stopping")
    finally:
        # From here on a second signal changes nothing.
        told.set()
        # Ray reports the end of Serve's controller, which is meant, as a failed task.
        unheard = io.StringIO()
        with contextlib.redirect_stdout(unheard), contextlib.redirect_stderr(unheard):
            if ray.is_initialized():
                haproxy = Path(proxy_files) if SWITCH in environment else None
                end_service(_APPLICATION, own=cluster == OWN, haproxy=haproxy)
            ray.shutdown()
        ending.close()
    say("stopped")


def choose_proxy(
    folder: Path, ending: contextlib.ExitStack, options: LocalOptions, queries: int
) -> dict[str, str]:
    """The variables that put HAProxy before the replicas; none where it cannot be or shall not.

    Args:
        folder: An empty folder for its files.
        ending: Releases its ports, when it has ended.
        options: Where the service listens.
        queries: Queries that one replica holds at once.
    """
    if SWITCH in os.environ:
        return {}
    try:
        ports = ending.enter_context(ReservedPorts())
        return haproxy_environment(
            folder, ports, options.host, queries, options.haproxy_metrics_port
        )
    except (NoHAProxyError, NoPortsError) as error:
        say(f"HAProxy cannot stand before the replicas, Serve's own slower proxy does: {error}")
        return {}


def say(line: str) -> None:
    """Tell the person at the terminal."""
    print(line, flush=True)


def main() -> int:
    """The command line; the exit status."""
    try:
        serve_until_told(tyro.cli(LocalOptions, prog="python -m app.local"))
    except (LocalError, SettingsError, StartError, StorageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
