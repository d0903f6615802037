from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from app.local.starting import StartError, start_ray
from benchmarks.support.running import free_port, inherited
from tests.app.running import kill, processes_of
from tests.support.waiting import PATIENCE_S, wait_until

ROOT = Path(__file__).resolve().parents[3]
BROKEN = """\
#!/bin/sh
[ "$1" = -v ] && exit 0
echo "[ALERT] cannot bind socket" >&2
exit 1
"""


@pytest.mark.long
def test_a_proxy_that_does_not_start_is_reported_in_one_line(
    tmp_path: Path, haproxy_binary: str
) -> None:
    broken = tmp_path / "haproxy"
    broken.write_text(BROKEN)
    broken.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-m", "app.local", "--port", str(free_port())],
        cwd=ROOT,
        env=inherited()
        | {
            "RAY_SERVE_HAPROXY_BINARY_PATH": str(broken),
            "CARRACING_STORAGE": str(tmp_path / "store"),
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2
    # Ray may warn of a slow machine before it.
    *_, error = done.stderr.splitlines()
    assert error.startswith("error: "), done.stderr
    assert "cannot bind socket" in error
    # Ray passes on what the actor that starts HAProxy prints.
    ours = [line for line in done.stdout.splitlines() if "(HAProxyManager" not in line]
    assert "Traceback" not in "\n".join(ours) + done.stderr


@pytest.mark.long
@pytest.mark.usefixtures("haproxy_binary")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="HAProxy stays without setpriv")
def test_a_service_that_is_killed_leaves_its_port(tmp_path: Path) -> None:
    port, log, store = free_port(), tmp_path / "log", str(tmp_path / "store")

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", "app.local", "--port", str(port)],
            cwd=ROOT,
            env=inherited() | {"CARRACING_STORAGE": store},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            wait_until(lambda: "listening on" in log.read_text() or process.poll() is not None)
            assert listens(), log.read_text()
            process.kill()
            wait_until(lambda: not listens())
        finally:
            process.kill()
            kill(processes_of(store))


class Ray:
    """Stands in for ``ray.init``: fails with these errors in turn, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.starts = 0

    def __call__(self, **_: object) -> None:
        self.starts += 1
        if self.errors:
            raise self.errors.pop(0)


def test_a_ray_that_is_too_slow_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    late = Exception("The current node timed out during startup. This could happen because …")
    slow = Ray(late, late)
    monkeypatch.setattr(ray, "init", slow)
    start_ray(address="local")
    assert slow.starts == 3


def test_a_ray_that_does_not_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Ray(RuntimeError("first line\nno space left on device"))
    monkeypatch.setattr(ray, "init", broken)
    with pytest.raises(StartError, match="no space left on device"):
        start_ray(address="local")
    assert broken.starts == 1
