"""The real command line, ``anyscale``, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.anyscale.control_plane import TOKEN
from tests.support.waiting import PATIENCE_S

COMMANDS = Path(sys.executable).parent


@dataclass(frozen=True)
class CommandLine:
    """Runs in one folder, and talks to one control plane."""

    folder: Path
    host: str

    def __call__(self, *arguments: str) -> str:
        """Run one command; what it printed to standard output."""
        # Nothing of the account, or the workspace, of who runs the tests.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ANYSCALE_")}
        done = subprocess.run(
            [str(COMMANDS / "anyscale"), *arguments],
            cwd=self.folder,
            env=environment
            | {
                "ANYSCALE_HOST": self.host,
                "ANYSCALE_CLI_TOKEN": TOKEN,
                "ANYSCALE_SUPPRESS_UPGRADE_WARNING": "1",
            },
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout
