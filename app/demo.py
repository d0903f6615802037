"""Watch it learn: a small training run in the background, and the service beside it.

    python -m app.demo

Both are what they are elsewhere: ``training.train`` on a Ray cluster of its own, ``app.local`` on
another. They meet in the storage root only, as a job and a service do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from types import FrameType

import tyro

from training.store.storage import choose_root

_GRACE_S = 30.0


@dataclass(frozen=True)
class DemoOptions:
    """Train a small run in the background and serve its policies as they are published.

    The bundled policy drives until the first one is.
    """

    host: str = "127.0.0.1"
    """Address that the service listens on."""
    port: int = 8000
    """Port that the service listens on."""
    results_dir: str | None = None
    """Storage root, as in training.train."""
    max_iters: int | None = None
    """Iterations to train; else as the recipe `demo` says, some minutes on two cores."""
    finetune_at: int | None = None
    """Last iteration of the exploring phase; else as that recipe says."""


class Part:
    """A process of the demo; its output is shown line by line under its name."""

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str]) -> None:
        self.name = name
        # A session of its own: Ctrl-C reaches this process alone, which then ends its parts.
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-u", "-m", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._show, daemon=True).start()

    def _show(self) -> None:
        for line in self._process.stdout or ():
            print(f"[{self.name}] {line}", end="", flush=True)

    def wait(self) -> int:
        """Wait for its end; its exit status."""
        return self._process.wait()

    def interrupt(self) -> None:
        """Ask it to end, as Ctrl-C does."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def end(self) -> None:
        """Wait for an interrupted process, and end what is left of it after a while."""
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            print(f"[{self.name}] did not end in {_GRACE_S:g} s and is killed", flush=True)
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def training_command(options: DemoOptions) -> list[str]:
    """The module that trains, and its arguments."""
    command = ["training.train", "--recipe", "demo", "--skip-asha"]
    if options.max_iters is not None:
        command += ["--max-iters", str(options.max_iters)]
    if options.finetune_at is not None:
        command += ["--finetune-at", str(options.finetune_at)]
    return command


def demo(options: DemoOptions) -> int:
    """Run both until Ctrl-C or until the service ends; the exit status."""
    root = choose_root(options.results_dir)
    # Two clusters of their own, wherever else a Ray may be running.
    environment = os.environ | {"RAY_ADDRESS": "local", "CARRACING_STORAGE": root}
    told = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        told.set()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    print(
        f"training publishes to {root}, the service will be at "
        f"http://{options.host}:{options.port} — Ctrl-C ends both",
        flush=True,
    )
    serve = Part(
        "serve",
        # Training has to share the cores.
        ["app.local", "--host", options.host, "--port", str(options.port), "--replicas", "1"],
        environment,
    )
    train = Part("train", training_command(options), environment)
    status = 0

    def watch_service() -> None:
        nonlocal status
        status = serve.wait()
        told.set()

    def watch_training() -> None:
        ended = train.wait()
        if not told.is_set():
            print(f"training ended (status {ended}); the service keeps running", flush=True)

    threading.Thread(target=watch_service, daemon=True).start()
    threading.Thread(target=watch_training, daemon=True).start()
    told.wait()
    print("ending both", flush=True)
    for part in (train, serve):
        part.interrupt()
    for part in (train, serve):
        part.end()
    return status


def main() -> int:
    """The command line; the exit status."""
    return demo(tyro.cli(DemoOptions, prog="python -m app.demo"))


if __name__ == "__main__":
    sys.exit(main())
