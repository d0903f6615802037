"""What the service's processes load, each asked in a fresh interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import app

APP = Path(app.__file__).parent

INGRESS = (
    "app.api.application, app.api.service, app.policies.watcher, app.policies.bundled, "
    "app.rendering.films, app.rendering.renderer, app.api.observations"
)


def loaded_by(modules: str) -> set[str]:
    script = f"import sys\nimport {modules}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


def test_the_api_needs_neither_ray_nor_plots_nor_tables() -> None:
    assert not loaded_by(INGRESS) & {"ray", "matplotlib", "pandas"}


@pytest.mark.parametrize(
    "module",
    ["app.api.schemas", "app.driving.protocol", "app.errors", "app.policies.names", "app.settings"],
)
def test_light_modules_load_no_network_and_no_simulator(module: str) -> None:
    assert not loaded_by(module) & {"torch", "Box2D", "pygame", "gymnasium", "cv2", "ray"}


LAYERS = (
    ("page", "bundled"),
    ("limits", "logs", "errors", "parameters"),
    ("client", "problems", "settings"),
    ("policies",),
    ("metrics",),
    ("middleware",),
    ("rendering", "driving"),
    ("api",),
    ("policy_server",),
    ("main",),
    ("local", "demo"),
)
"""Parts of ``app``, lowest first: a part imports only from itself and from lower ones."""


def test_imports_run_in_one_direction() -> None:
    level = {part: number for number, parts in enumerate(LAYERS) for part in parts}
    for path in sorted(APP.rglob("*.py")):
        importer = path.relative_to(APP).parts[0].removesuffix(".py")
        if importer == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            if not node.module.startswith("app."):
                continue
            imported = node.module.split(".")[1]
            allowed = imported == importer or level[imported] < level[importer]
            assert allowed, f"{path.relative_to(APP)} imports {node.module}"


def test_the_client_needs_neither_ray_nor_torch_nor_a_simulator() -> None:
    assert not loaded_by("app.client") & {"ray", "torch", "gymnasium", "fastapi", "training"}


def test_what_starts_the_service_needs_no_network_and_no_plots() -> None:
    # Ray Serve itself imports pandas.
    loaded = loaded_by("app.main, app.local")
    assert not loaded & {"ray.rllib", "ray.tune", "matplotlib", "torch"}


def test_the_deployments_need_no_rllib_and_no_plots() -> None:
    rendering = "app.rendering.remote_renderer, app.rendering.curves, app.rendering.films"
    loaded = loaded_by(f"app.main, {rendering}")
    assert not loaded & {"ray.rllib", "ray.tune", "matplotlib"}


@pytest.mark.parametrize("module", ["app.main", "app.local", "app.settings"])
def test_nothing_happens_at_import(module: str) -> None:
    script = (
        f"import threading, {module}, ray\n"
        "assert not ray.is_initialized()\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
