"""The direction of imports between the packages."""

from __future__ import annotations

import ast
from pathlib import Path

import training

ROOT = Path(training.__file__).parent

LAYERS = (
    ("simulator", "extras", "anyscale"),
    ("environment",),
    ("policy",),
    ("recipe", "store"),
    ("rllib",),
    ("trials", "evaluation"),
    ("validation",),
    ("runs",),
    ("export",),
    ("train", "evaluate"),
)
"""Parts of ``training``, lowest first: a part imports only from itself and from lower ones."""


def imports(path: Path) -> list[str]:
    """The modules of this project that a module imports, inside functions too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    names = ("training", "app", "benchmarks", "tests")
    return [module for module in found if module.partition(".")[0] in names]


def test_imports_run_in_one_direction() -> None:
    level = {part: number for number, parts in enumerate(LAYERS) for part in parts}
    for path in sorted(ROOT.rglob("*.py")):
        importer = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if importer == "__init__":
            continue
        for module in imports(path):
            package, _, rest = module.partition(".")
            assert package == "training", f"{path.relative_to(ROOT)} imports {module}"
            imported = rest.partition(".")[0]
            allowed = imported == importer or level[imported] < level[importer]
            assert allowed, f"{path.relative_to(ROOT)} imports {module}"


def test_the_simulator_needs_nothing_else_of_the_project() -> None:
    for path in (ROOT / "simulator").rglob("*.py"):
        assert all(module.startswith("training.simulator") for module in imports(path)), path
