"""Processes that drive what they are sent, one at a time."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.simulator.contenders import Episode

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerError(Exception):
    """A contender that cannot drive here; the message is its last words."""


class Worker:
    """One contender in a process and on one core of its own."""

    def __init__(self, python: Path, contender: str) -> None:
        self._process = subprocess.Popen(  # noqa: S603
            [python, "-W", "ignore", "-m", "benchmarks.simulator.contenders", contender],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env=os.environ
            | dict.fromkeys(_ONE_THREAD, "1")
            | {"PYGAME_HIDE_SUPPORT_PROMPT": "1", "SDL_VIDEODRIVER": "dummy"},
        )

    def drive(self, episodes: list[Episode]) -> float:
        """Decisions per second of processor time, resets included.

        Raises:
            WorkerError: The process has ended.
        """
        answer = ""
        if self._process.stdin and self._process.stdout:
            try:
                print(json.dumps({"episodes": episodes}), file=self._process.stdin, flush=True)
                answer = self._process.stdout.readline()
            except BrokenPipeError:
                pass
        if not answer:
            _, words = self._process.communicate()
            raise WorkerError((words.strip() or "it ended without a word").splitlines()[-1])
        result = json.loads(answer)
        return float(result["decisions"] / result["seconds"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
        self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                stream.close()
