"""Other people's fast simulators, in an environment of their own: ``.venv-peers``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parent.parent
_FOLDER: Final = _ROOT / ".venv-peers"

# npfl139 asks for PyTorch, MuJoCo and more; its CarRacingFS needs only what is named here, in the
# versions that it asks for.
_NEEDS: Final = (
    "envpool==1.2.5",
    "gymnasium==1.2.3",
    "numpy==2.4.6",
    "opencv-python-headless==4.11.0.86",
    "pillow==13.0.0",
    "pygame-ce==2.5.8",
    "ufal.pybox2d==2.3.10.5",
)
_WITHOUT_NEEDS: Final = ("npfl139==2526.14.1",)


class PeersError(Exception):
    """The peers could not be installed; the message is pip's."""


def peers_python() -> Path:
    """The interpreter that has the peers; installs them on the first call (about 1.2 GB).

    Raises:
        PeersError: They could not be installed.
    """
    python = _FOLDER / "bin/python"
    ready = _FOLDER / ".installed"
    if ready.exists():
        return python
    print(f"installing the peers into {_FOLDER.name} (once; about 1.2 GB)", flush=True)
    _run(sys.executable, "-m", "venv", str(_FOLDER))
    pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _run(*pip, *_NEEDS)
    _run(*pip, "--no-deps", *_WITHOUT_NEEDS)
    ready.touch()
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise PeersError((done.stderr.strip() or "pip failed").splitlines()[-1])
