"""The wheel, installed apart from the source."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent

_DRIVE = """
import sys
import gymnasium as gym
env = gym.make("training.simulator:FastCarRacing-v3")
assert env.reset(seed=1)[0].shape == (96, 96, 3)
assert env.step(env.action_space.sample())[0].any()
others = {name for name in sys.modules if name.startswith(("app", "training."))}
assert all(name.startswith("training.simulator") for name in others), others
assert not {"ray", "torch", "imageio"} & set(sys.modules)
print(sys.modules["training"].__file__)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what ``pip install .`` installs."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    # setuptools builds in the source folder, which other tests read: it gets a copy.
    source = folder / "source"
    for package in ("app", "training"):
        shutil.copytree(
            ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for file in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / file, source)
    target = folder / "target"
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-build-isolation", "--target", target, source],
        check=True,
        timeout=300,
    )
    return target


def test_an_installed_simulator_drives(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _DRIVE],
        env=os.environ | {"PYTHONPATH": str(installed), "PYGAME_HIDE_SUPPORT_PROMPT": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed)


@pytest.mark.parametrize("command", ["train", "evaluate", "serve"])
def test_its_commands_run(command: str, installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, installed / "bin" / f"carracing-{command}", "--help"],
        env=os.environ | {"PYTHONPATH": str(installed)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


def test_data_is_installed(installed: Path) -> None:
    for folder in ("bundled", "page"):
        expected = {path.name for path in (ROOT / "app" / folder).iterdir() if path.is_file()}
        assert expected
        assert {path.name for path in (installed / "app" / folder).iterdir()} == expected


def test_the_bounds_admit_the_pinned_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, equals, version = line.partition("==")
        if equals:
            pins[name.lower().replace("_", "-")] = version
    extras = project["optional-dependencies"].values()
    for text in [*project["dependencies"], *(entry for extra in extras for entry in extra)]:
        requirement = Requirement(text)
        assert pins[requirement.name.lower().replace("_", "-")] in requirement.specifier, text
