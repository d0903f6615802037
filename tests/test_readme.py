"""The README claims what is so: its tables are the command lines' own, its tree is the folders',
and its Python runs.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from app.api.application import build_api
from app.metrics import METRICS
from app.policies.loading import load_bundled
from app.policies.watcher import PolicyWatcher
from app.settings import PREFIX, Settings
from tests.app.conftest import INTERVAL_S, FakeRenderer
from tests.app.live import listen
from training.evaluation.options import FlatOptions
from training.evaluation.rollout import drive
from training.store.policies import PolicyStore
from training.train import parse

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    (body,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.M)
    return str(body)


def table(text: str) -> dict[str, str]:
    """First cell → second cell of every row whose first cell is code."""
    return dict(re.findall(r"^\| `([^`]+)` \|([^|]*)\|", text, re.MULTILINE))


def option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def test_the_training_table_shows_the_real_defaults() -> None:
    command = parse([])
    real = {option(f.name): getattr(command.options, f.name) for f in fields(command.options)}
    real |= {option(f.name): getattr(command.recipe, f.name) for f in fields(command.recipe)}
    real["--recipe"] = command.recipe_name
    shown = table(section("Training: `python -m training.train`"))
    assert set(shown) <= set(real)
    assert {option(f.name) for f in fields(command.options)} <= set(shown)
    check_defaults(shown, real)


def test_the_evaluation_table_shows_the_real_defaults() -> None:
    real: dict[str, Any] = {option(f.name): f.default for f in fields(FlatOptions)}
    published = parse([]).recipe.action_filter
    real |= {option(name): value for name, value in published.to_dict().items()}
    shown = table(section("Evaluation: `python -m training.evaluate`"))
    assert {name.replace("--no-film", "--film") for name in shown} == set(real)
    check_defaults(shown, real)


def check_defaults(shown: dict[str, str], real: dict[str, Any]) -> None:
    """Numbers and names must be equal; for None and flags the table has words."""
    for name, text in shown.items():
        value = real.get(name)
        if isinstance(value, bool) or value is None:
            continue
        if isinstance(value, int | float):
            assert float(text.strip()) == pytest.approx(value), name
        else:
            assert text.strip() == str(value), name


def test_the_settings_table_names_real_settings() -> None:
    shown = [name for name in table(section("The service")) if name.startswith(PREFIX)]
    assert shown
    assert {name.removeprefix(PREFIX).lower() for name in shown} <= set(Settings.model_fields)


def test_the_metrics_table_shows_all_there_is() -> None:
    endings = {"counter": "_total", "gauge": "", "histogram": ""}
    real = {f"ray_{each.name}{endings[each.kind]}": ", ".join(each.labels) for each in METRICS}
    shown = table(section("For the operator"))
    assert {name: labels.strip() for name, labels in shown.items()} == real


def test_the_tree_names_every_package_and_nothing_else() -> None:
    tree = section("What is where")
    for root in ("app", "training"):
        (listed,) = re.findall(rf"^{root}/\n((?:  .*\n)+)", tree, re.MULTILINE)
        named = re.findall(r"\b(\w+(?:/|\.py))(?= |,|$)", listed, re.MULTILINE)
        folders = {f"{path.parent.name}/" for path in ROOT.glob(f"{root}/*/__init__.py")}
        assert {name for name in named if name.endswith("/")} - {"page/", "bundled/"} == folders
        assert all((ROOT / root / name).exists() for name in named)


def test_the_program_drives_and_prints_the_offline_score(store: PolicyStore) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", section("From a program"), re.DOTALL | re.M)
    shown = "http://127.0.0.1:8000"
    assert shown in program
    policy = load_bundled()
    watcher = PolicyWatcher(store, INTERVAL_S, fallback=policy)
    with listen(build_api(Settings(), watcher, FakeRenderer(), store)) as url:
        command = [sys.executable, "-c", program.replace(shown, url)]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    (seed,) = re.findall(r"seed=(\d+)", program)
    offline = drive(policy, int(seed), simulator="stock")
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"{offline.score:.1f} {policy.version}\n"
