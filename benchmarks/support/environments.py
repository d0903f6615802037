"""Environments with the other projects that are compared."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Peers:
    """Packages that are installed together, on first use."""

    folder: str
    """Of the environment, below the project's."""
    size: str
    needs: tuple[str, ...]
    """Pinned packages."""
    without_needs: tuple[str, ...] = ()
    """Pinned packages whose own dependencies are not installed."""


# npfl139 asks for PyTorch, MuJoCo and more; its CarRacingFS needs only what is named here, in the
# versions that it asks for.
SIMULATORS: Final = Peers(
    ".venv-peers",
    "1.2 GB",
    (
        "envpool==1.2.5",
        "gymnasium==1.2.3",
        "numpy==2.4.6",
        "opencv-python-headless==4.11.0.86",
        "pillow==13.0.0",
        "pygame-ce==2.5.8",
        "ufal.pybox2d==2.3.10.5",
    ),
    ("npfl139==2526.14.1",),
)

# What `training.policy.acting` imports, in the versions of constraints.txt, beside the two servers.
SERVERS: Final = Peers(
    ".venv-serving-peers",
    "1.5 GB",
    (
        "bentoml==1.4.39",
        "litserve==0.2.19",
        "torch==2.13.0",
        "box2d==2.3.10",
        "gymnasium==1.2.2",
        "numpy==2.4.6",
        "opencv-python-headless==4.11.0.86",
        "pillow==13.0.0",
        "pyarrow==26.0.1",
        "pygame==2.6.1",
        "safetensors==0.8.0",
    ),
)


class PeersError(Exception):
    """The peers could not be installed; the message is pip's."""


def peers_python(peers: Peers) -> Path:
    """The interpreter that has the peers; installs them on the first call.

    Raises:
        PeersError: They could not be installed.
    """
    folder = _ROOT / peers.folder
    python = folder / "bin/python"
    ready = folder / ".installed"
    if ready.exists():
        return python
    print(f"installing the peers into {folder.name} (once; about {peers.size})", flush=True)
    _run(sys.executable, "-m", "venv", str(folder))
    pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _run(*pip, *peers.needs)
    if peers.without_needs:
        _run(*pip, "--no-deps", *peers.without_needs)
    ready.touch()
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise PeersError((done.stderr.strip() or "pip failed").splitlines()[-1])
