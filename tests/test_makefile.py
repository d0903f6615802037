"""What `make` says where the pinned packages cannot be installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def make_on(folder: Path, python: str) -> subprocess.CompletedProcess[str]:
    """`make lint` in a fresh clone."""
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("requirements.txt", "requirements-dev.txt", "constraints.txt"):
        (folder / name).touch()
    return subprocess.run(
        ["make", "lint", f"PYTHON={python}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        # Not the variables of a make that runs these tests.
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
    )


def pretend(folder: Path, *, version: str, system: str, machine: str) -> str:
    """A Python that calls itself one of another version, on another machine."""
    python = folder / "python"
    python.write_text(
        f"#!{sys.executable}\n"
        "import platform, sys\n"
        f"sys.version_info = ({version.replace('.', ', ')}, 0)\n"
        f"platform.system = lambda: {system!r}\n"
        f"platform.machine = lambda: {machine!r}\n"
        "if sys.argv[1] == '-c':\n"
        "    exec(sys.argv[2])\n"
        "else:\n"
        "    print('goes on with', sys.argv[1:])\n"
        "    sys.exit(3)\n"
    )
    python.chmod(0o755)
    return str(python)


@pytest.mark.parametrize(
    ("version", "system", "machine"),
    [
        ("3.12", "Linux", "x86_64"),
        ("3.11", "Linux", "aarch64"),
        ("3.11", "Darwin", "x86_64"),
        ("3.11", "Windows", "AMD64"),
    ],
)
def test_what_is_not_supported_is_told_in_a_line(
    tmp_path: Path, version: str, system: str, machine: str
) -> None:
    python = pretend(tmp_path, version=version, system=system, machine=machine)
    refused = make_on(tmp_path, python)
    (line,) = refused.stdout.splitlines()
    for named in ("3.11", "Linux", "x86-64", "WSL 2", "Apple silicon", version, system, machine):
        assert named in line
    assert refused.returncode != 0
    assert not (tmp_path / ".venv").exists()


def test_without_python_it_says_what_is_needed(tmp_path: Path) -> None:
    refused = make_on(tmp_path, str(tmp_path / "absent"))
    (line,) = refused.stdout.splitlines()
    assert "3.11" in line
    assert refused.returncode != 0


@pytest.mark.parametrize(("system", "machine"), [("Linux", "x86_64"), ("Darwin", "arm64")])
def test_what_is_supported_goes_on(tmp_path: Path, system: str, machine: str) -> None:
    python = pretend(tmp_path, version="3.11", system=system, machine=machine)
    assert "goes on with ['-m', 'venv', '.venv']" in make_on(tmp_path, python).stdout
