"""Names of runs, trials, recipes and policies. This module loads no PyTorch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""A name that is one safe path segment and one safe part of an address."""
