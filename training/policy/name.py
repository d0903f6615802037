"""Names of runs, trials, recipes, policies and phases. This module loads no PyTorch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""A name that is one safe path segment and one safe part of an address."""

PhaseName = Literal["explore", "finetune"]


def current_phase(name: object) -> object:
    """The phase that an earlier version may have named ``stabilize``."""
    return "finetune" if name == "stabilize" else name


Phase = Annotated[PhaseName, BeforeValidator(current_phase)]
"""A phase of training."""
