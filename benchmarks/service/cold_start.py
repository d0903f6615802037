"""Measure the time from the command to the first ready response.

    python -m benchmarks.service.cold_start

Starts the service a few times and polls /health/ready until it returns 200, with a policy loaded
and warm. Files are in the system's cache after the first start at the latest. The command's steps
are timed in its own process, a replica's steps in a process without Ray.
"""

from __future__ import annotations

import asyncio
import functools
import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import tyro

from benchmarks.support.running import free_port, inherited

_ROOT: Final = Path(__file__).parents[2]
_UP_S: Final = 300.0
_MARK: Final = "cold-start "


@dataclass(frozen=True)
class Options:
    """How often."""

    rounds: int = 3
    """Starts; the table shows medians."""

    def __post_init__(self) -> None:
        """Refuse what says nothing."""
        if self.rounds < 1:
            raise ValueError("--rounds must be 1 or more")


def _mark(part: str) -> None:
    print(f"{_MARK}{json.dumps([part, time.time()])}", flush=True)


def _marked(part: str, call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def marked(*given: Any, **named: Any) -> Any:
        result = call(*given, **named)
        _mark(part)
        return result

    return marked


def serve() -> None:
    """Be the service, with a mark at the end of each part."""
    import app.local.serve

    _mark("Python, the command line")
    import ray
    from ray import serve

    import app.main

    _mark("Ray and Serve imported")
    ray.init = _marked("Ray started", ray.init)
    serve.start = _marked("Serve started", serve.start)
    serve.run = _marked("replicas started", serve.run)
    sys.exit(app.local.serve.main())


def replica() -> None:
    """Be the ingress's replica without Ray, with a mark at the end of each part."""
    from app.policy_server import PolicyServer

    _mark("Python, its code")
    server = PolicyServer(None)
    _mark("PyTorch imported, bundled policy loaded and warm")
    api = server.__serve_build_asgi_app__()

    async def start() -> None:
        async with api.router.lifespan_context(api):
            _mark("API built, storage looked at")

    asyncio.run(start())


def _run(part: str, store: str, *arguments: str) -> subprocess.Popen[str]:
    """Start one of the two above in a process of its own."""
    return subprocess.Popen(  # noqa: S603
        [
            sys.executable,
            "-c",
            f"from benchmarks.service.cold_start import {part}; {part}()",
            *arguments,
        ],
        cwd=_ROOT,
        env=inherited() | {"CARRACING_STORAGE": store},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _parts(process: subprocess.Popen[str], begin: float) -> dict[str, float]:
    """Part → seconds that it took; waits for the process's end."""
    parts: dict[str, float] = {}
    output, _ = process.communicate()
    for line in output.splitlines():
        if line.startswith(_MARK):
            part, end = json.loads(line.removeprefix(_MARK))
            parts[part] = end - begin
            begin = end
    return parts


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5):
            return True
    except OSError:
        return False


def cold_start() -> dict[str, float]:
    """Part → seconds, of one start."""
    with tempfile.TemporaryDirectory(prefix="bench-") as store:
        port, begin = free_port(), time.time()
        process = _run("serve", store, "--port", str(port))
        try:
            while not _is_ready(port):
                if process.poll() is not None or time.time() - begin > _UP_S:
                    raise SystemExit("the service does not come up")
                time.sleep(0.02)
            ready = time.time() - begin
        finally:
            process.send_signal(signal.SIGTERM)
            parts = _parts(process, begin)
        begin = time.time()
        of_replica = _parts(_run("replica", store), begin)
    found = {**parts, "**ready**": ready}
    return found | {f"a replica alone: {part}": seconds for part, seconds in of_replica.items()}


def main() -> None:
    """Start it a few times and print the medians."""
    options = tyro.cli(Options, description=__doc__)
    starts = []
    for number in range(options.rounds):
        starts.append(cold_start())
        print(f"{number + 1}: ready after {starts[-1]['**ready**']:.1f} s", flush=True)
    print(f"\n| part | seconds, median of {options.rounds} |\n|---|---|")
    for part in starts[0]:
        print(f"| {part} | {median(start[part] for start in starts):.2f} |")


if __name__ == "__main__":
    main()
