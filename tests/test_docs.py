"""README.md and docs/: tables equal the code, links lead somewhere, Python programs run."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from app.api.application import build_api
from app.driving.protocol import Close
from app.metrics import METRICS
from app.policies.loading import load_bundled
from app.policies.watcher import PolicyWatcher
from app.problems import TITLES
from app.settings import PREFIX, Settings
from tests.app.conftest import INTERVAL_S, FakeRenderer
from tests.app.live import listen
from training.evaluation.options import FlatOptions
from training.evaluation.rollout import drive
from training.recipe import RECIPES
from training.store.policies import PolicyStore
from training.train import parse

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), *DOCS.glob("*.md"), ROOT / "app" / "bundled" / "README.md"]


def section(page: Path, title: str) -> str:
    """A section's text, without its title and the sections below it."""
    text = page.read_text(encoding="utf-8")
    ((level, body),) = re.findall(
        rf"^(##+) {re.escape(title)}\n(.*?)(?=^##+ |\Z)", text, re.DOTALL | re.M
    )
    assert level
    return str(body)


def table(text: str, columns: int | None = None, column: int = 1) -> dict[str, str]:
    """First cell → one of the next cells, of every row whose first cell is code.

    Args:
        text: Where the tables are.
        columns: Only rows with this many cells between the first and the last one.
        column: Which of the cells.
    """
    rows = [re.split(r" *\| *", row)[1:-1] for row in re.findall(r"^\| *`.*\|$", text, re.M)]
    return {
        row[0].strip("`"): row[column] for row in rows if columns is None or len(row) == columns + 2
    }


def option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


NO_OPTIONS = {"critic", "initialization", "action_mapping"}


def test_the_tables_of_training_options_show_every_option_and_its_default() -> None:
    text = section(DOCS / "training.md", "Options")
    command = parse([])
    options = {option(f.name): getattr(command.options, f.name) for f in fields(command.options)}
    check_defaults(table(text, columns=1), options | {"--recipe": command.recipe_name})
    for column, recipe in enumerate(RECIPES.values(), 1):
        values = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
        real = {
            option(name): value
            for name, value in values.items()
            if isinstance(value, int | float | str) and name not in NO_OPTIONS
        }
        check_defaults(table(text, columns=len(RECIPES), column=column), real)
    assert f"| recipe value | {' | '.join(f'`{name}`' for name in RECIPES)} |" in text


def test_the_evaluation_table_shows_every_option_and_its_default() -> None:
    real: dict[str, Any] = {option(f.name): f.default for f in fields(FlatOptions)}
    published = parse([]).recipe.action_filter
    real |= {option(name): value for name, value in published.to_dict().items()}
    text = section(DOCS / "training.md", "Evaluation: `python -m training.evaluate`")
    shown = table(text)
    shown["--film"] = shown.pop("--no-film")
    check_defaults(shown, real)


def check_defaults(shown: dict[str, str], real: dict[str, Any]) -> None:
    """The names are the same, and the values equal; None, flags and secrets are dashes."""
    assert set(shown) == set(real)
    for name, value in real.items():
        if isinstance(value, bool) or value is None or value == ():
            assert shown[name] in ("–", str(int(bool(value)))), name
        elif isinstance(value, int | float):
            assert float(shown[name]) == pytest.approx(value), name
        else:
            assert shown[name] == str(value), name


def test_the_settings_table_shows_every_setting_and_its_default() -> None:
    real = {PREFIX + name.upper(): field.default for name, field in Settings.model_fields.items()}
    check_defaults(table(section(DOCS / "operations.md", "Settings")), real)


@pytest.fixture
def api(store: PolicyStore) -> FastAPI:
    return build_api(Settings(), PolicyWatcher(store, INTERVAL_S), FakeRenderer(), store)


def test_the_routes_table_shows_every_route(api: FastAPI) -> None:
    shown = set(table(section(DOCS / "service.md", "Routes")))
    documented = {
        f"{method.upper()} {path}"
        for path, methods in api.openapi()["paths"].items()
        for method in methods
    }
    assert shown == documented | {"GET /docs", "GET /openapi.json", "WS /drive"}


def test_the_tables_of_errors_and_close_codes_show_all_of_them() -> None:
    page = DOCS / "service.md"
    shown = set(
        re.findall(r"`([a-z]+(?:-[a-z]+)*)`", section(page, "Errors") + section(page, "503"))
    )
    assert set(TITLES) <= shown
    codes = re.findall(r"^\| (\d{4}) \|", section(page, "WebSocket `/drive`"), re.M)
    assert {int(code) for code in codes} >= {int(code) for code in Close}


def test_the_metrics_table_shows_all_there_is() -> None:
    endings = {"counter": "_total", "gauge": "", "histogram": ""}
    real = {f"ray_{each.name}{endings[each.kind]}": ", ".join(each.labels) for each in METRICS}
    shown = table(section(DOCS / "operations.md", "Metrics"))
    assert {name: labels.strip() for name, labels in shown.items()} == real


def test_the_tree_names_every_package_and_nothing_else() -> None:
    tree = section(README, "How it works")
    for root in ("app", "training"):
        (listed,) = re.findall(rf"^{root}/\n((?:  .*\n)+)", tree, re.MULTILINE)
        named = re.findall(r"\b(\w+(?:/|\.py))(?= |,|$)", listed, re.MULTILINE)
        folders = {f"{path.parent.name}/" for path in ROOT.glob(f"{root}/*/__init__.py")}
        assert {name for name in named if name.endswith("/")} - {"page/", "bundled/"} == folders
        assert all((ROOT / root / name).exists() for name in named)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the page's titles."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_titles(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_name_modules_that_exist(page: Path) -> None:
    for module in re.findall(
        r"python -m ((?:app|training|benchmarks|tests)[\w.]*)", page.read_text()
    ):
        assert find_spec(module) is not None, module


def test_the_program_drives_and_prints_the_offline_score(store: PolicyStore) -> None:
    (program,) = re.findall(
        r"^```python\n(.*?)^```",
        section(DOCS / "service.md", "Python client"),
        re.DOTALL | re.M,
    )
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
