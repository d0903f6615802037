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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated

import tyro

from app.limits import WEBSOCKET_S
from app.local.environment import (
    METRICS_PORT,
    SERVE_VARIABLES,
    SWITCH,
    NoHAProxyError,
    check_haproxy,
    haproxy_variables,
)
from app.local.ports import NoPortsError, ReservedPorts
from app.local.starting import StartError, start_ray, start_serve
from app.local.stopping import stop_service
from app.settings import PREFIX, Settings, SettingsError, load_settings
from training.store.storage import Storage, StorageError

OWN = "local"
"""The address of a Ray that is started for the service alone."""

_APPLICATION = "carracing"
_OTHER_CPUS = 1
"""Logical CPUs for the renderer; each replica has one more."""


@dataclass(frozen=True)
class LocalOptions:
    """Serve the newest published policy on this machine, or the bundled one until there is one.

    Starts a Ray of its own, unless RAY_ADDRESS names a running one.
    """

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""
    port: Annotated[int, tyro.conf.arg(metavar="1..65535")] = 8000
    """Port to listen on."""
    metrics_port: int | None = None
    """Port of Ray's metrics for Prometheus; else a free one."""
    haproxy_metrics_port: int | None = None
    """Port of HAProxy's metrics for Prometheus; else a free one."""
    replicas: int | None = None
    """Processes that answer requests; one goes on if another dies. Default: two where there are two
    cores, one on a cluster that is shared."""


class LocalError(Exception):
    """The service cannot be started as asked; the message says why."""


def authority(host: str, port: int | str) -> str:
    """Host and port as they stand in a URL: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_address(host: str, port: int) -> None:
    """Check that no server listens there yet; raises LocalError.

    Serve's proxy would share the port with another Serve, and take half of its requests.
    """
    if not 1 <= port <= 65535:
        raise LocalError(f"--port is {port}; it must be from 1 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: a port whose server has just ended is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        raise LocalError(f"--host is {host!r}, which has no address: {error.strerror}") from error
    except OSError as error:
        raise LocalError(
            f"{authority(host, port)} cannot be listened on ({error.strerror}); choose another "
            "--port"
        ) from error


def choose_replicas(asked: int | None, cores: int) -> int:
    """The number of replicas of the ingress; raises LocalError if ``asked`` is below 1."""
    if asked is None:
        return min(2, cores)
    if asked < 1:
        raise LocalError(f"--replicas is {asked}; it must be 1 or more")
    return asked


def environment_for(settings: Settings, root: str, cluster: str) -> dict[str, str]:
    """Set what the service's processes inherit from this one.

    Args:
        settings: The service's settings.
        root: The storage root.
        cluster: Address of the Ray to use.

    Returns:
        Variables that a Ray elsewhere has to pass on to them; none for a Ray of its own.

    Raises:
        LocalError: A Ray elsewhere would write the token to its logs.
    """
    os.environ["CARRACING_STORAGE"] = root
    if cluster == OWN:
        for name, value in SERVE_VARIABLES.items():
            os.environ.setdefault(name, value)
        # How long this process waits for its node; Ray's default is 30 seconds.
        os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")
        return {}
    if settings.api_token is not None:
        raise LocalError(
            f"CARRACING_API_TOKEN is set, and the Ray at {cluster} would write it to its logs; set "
            "it where that Ray is started, and not here"
        )
    return {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}


def serve_until_stopped(options: LocalOptions) -> None:
    """Serve until SIGINT or SIGTERM arrives. A second signal stops without waiting for requests.

    Raises:
        LocalError: The address is taken, or the Ray at RAY_ADDRESS cannot be used.
        StartError: Ray or Serve does not start.
        SettingsError: A setting in the environment is not valid.
        StorageError: The storage root is not a valid address.
    """
    check_address(options.host, options.port)
    replicas = choose_replicas(options.replicas, os.cpu_count() or 1)
    settings = load_settings()
    # Absolute, as replicas may run in another folder.
    root = Storage.open(settings.root).root
    cluster = os.environ.get("RAY_ADDRESS") or OWN
    inherited = environment_for(settings, root, cluster)
    if cluster != OWN:
        replicas = options.replicas or 1

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # Before Ray, which would otherwise handle SIGTERM itself.
    _on_signals(stop)
    with contextlib.ExitStack() as closing:
        if cluster == OWN:
            choose_proxy(options, closing)
        # Ray takes a second to import, and reads its variables then.
        import ray

        from app.main import make_app

        logging.getLogger("ray.serve").setLevel("WARNING")
        try:
            say("starting Ray and the service; this takes some seconds")
            own_ray = {
                "num_cpus": replicas + _OTHER_CPUS,
                "_metrics_export_port": options.metrics_port,
            }
            try:
                start_ray(
                    address=cluster,
                    include_dashboard=False,
                    runtime_env={"env_vars": inherited} if inherited else None,
                    logging_level="ERROR",
                    **(own_ray if cluster == OWN else {}),
                )
            except ConnectionError as error:
                raise LocalError(f"no Ray answers at RAY_ADDRESS={cluster}: {error}") from error
            _on_signals(stop)
            start_serve(
                make_app(replicas),
                (options.host, options.port) if cluster == OWN else None,
                {
                    "http_options": {
                        "host": options.host,
                        "port": options.port,
                        "request_timeout_s": WEBSOCKET_S,
                    },
                    "logging_config": {
                        "encoding": settings.log_encoding,
                        # With HAProxy, Serve warns that other nodes could not reach 127.0.0.1.
                        "log_level": "ERROR" if _uses_haproxy() else "WARNING",
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
            report(options, settings, root, owns_ray=cluster == OWN)
            threading.Event().wait()
        except KeyboardInterrupt:
            say("stopping; a second signal does not wait for requests")
        finally:
            # Ray logs the intended end of Serve's controller as a failed task.
            unheard = io.StringIO()
            with contextlib.redirect_stdout(unheard), contextlib.redirect_stderr(unheard):
                if ray.is_initialized():
                    with contextlib.suppress(KeyboardInterrupt):
                        stop_service(_APPLICATION, owns_ray=cluster == OWN)
                _on_signals(signal.SIG_IGN)
                ray.shutdown()
    say("stopped")


def _on_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)


def _uses_haproxy() -> bool:
    return os.environ.get(SWITCH) == "1"


def choose_proxy(options: LocalOptions, closing: contextlib.ExitStack) -> None:
    """Set the variables of HAProxy, or those of Serve's own proxy where HAProxy cannot run.

    Args:
        options: Where the service listens.
        closing: Releases HAProxy's ports and folder after Ray has ended.
    """
    if not _uses_haproxy():
        say(f"Serve's own proxy is used, which is slower than HAProxy: {SWITCH} is not 1")
        return
    folder = Path(
        closing.enter_context(
            tempfile.TemporaryDirectory(prefix="carracing-", ignore_cleanup_errors=True)
        )
    )
    try:
        check_haproxy(options.host, folder)
        ports = closing.enter_context(ReservedPorts())
    except (NoHAProxyError, NoPortsError) as error:
        say(f"Serve's own proxy is used, which is slower than HAProxy: {error}")
        os.environ[SWITCH] = "0"
        return
    os.environ.update(haproxy_variables(folder, ports, options.haproxy_metrics_port))


def report(options: LocalOptions, settings: Settings, root: str, *, owns_ray: bool) -> None:
    """Print where the service listens, and what it serves."""
    import ray

    say(f"listening on http://{authority(options.host, options.port)} (Ctrl-C stops it)")
    for node in ray.nodes():
        place = authority(node["NodeManagerAddress"], node["MetricsExportPort"])
        say(f"metrics for Prometheus are at http://{place}/metrics")
    if owns_ray and _uses_haproxy():
        place = authority(options.host, os.environ[METRICS_PORT])
        say(f"metrics of HAProxy are at http://{place}/metrics")
    say(f"policies are read from {root}")
    if settings.bundled:
        say("the bundled policy drives until one is published")


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def main() -> int:
    """The command line; the exit status."""
    try:
        serve_until_stopped(tyro.cli(LocalOptions, prog="python -m app.local"))
    except (LocalError, SettingsError, StartError, StorageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
