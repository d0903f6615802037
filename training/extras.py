"""Optional dependencies: the extras of ``pyproject.toml``."""

from __future__ import annotations

from importlib.util import find_spec


class MissingExtraError(ImportError):
    """An extra is not installed; the message says how to install it."""


def require(extra: str, *modules: str) -> None:
    """Check that an extra is installed, without importing it.

    Args:
        extra: Its name in ``pyproject.toml``.
        modules: What it installs.

    Raises:
        MissingExtraError: A module is missing.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise MissingExtraError(
            f"{', '.join(missing)} is not installed; in the project's folder, "
            f"pip install -e '.[{extra}]' installs it"
        )
