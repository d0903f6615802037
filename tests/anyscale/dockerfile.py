"""The Dockerfile's instructions; and as a program, what of them runs without Docker.

    python -m tests.anyscale.dockerfile

makes a clean virtual environment, installs Ray there, which the base image brings, and runs the RUN
instructions in it. It downloads PyTorch and takes minutes, so it is no test.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def instructions() -> list[tuple[str, str]]:
    """Every instruction and what it is given, without comments and on one line each."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", text)
    found = [line.split(maxsplit=1) for line in joined.splitlines() if line]
    return [(name, rest) for name, rest in found]


def given(instruction: str) -> list[str]:
    """What is given to each instruction of this name."""
    return [rest for name, rest in instructions() if name == instruction]


def pins(text: str) -> dict[str, str]:
    """Package, with its extras → the version that it is pinned to."""
    return dict(re.findall(r"([\w.-]+(?:\[[\w,]+\])?)==([\w.]+)", text))


def main() -> None:
    """Run the steps in an environment of their own, and say how long each took."""
    ray = next(
        f"{name}=={version}"
        for name, version in pins((ROOT / "requirements.txt").read_text()).items()
        if name.startswith("ray[")
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}"}
        for each in given("ENV"):
            environment |= dict(pair.split("=", 1) for pair in shlex.split(each))
        for command in (
            shlex.join([sys.executable, "-m", "venv", folder]),
            f"python -m pip install --no-cache-dir '{ray}'",
            *given("RUN"),
            "python -m pip check",
        ):
            print(f"\n$ {command}", flush=True)
            began = time.monotonic()
            subprocess.run(["/bin/sh", "-c", command], env=environment, cwd=folder, check=True)
            print(f"{time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
