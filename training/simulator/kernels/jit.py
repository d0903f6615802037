"""How the kernels are compiled.

numba's cache notices changes of the file that a kernel is in, and of no other: each kernel's file
holds all that it calls. Without ``fastmath``, every processor computes the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numba

_OPTIONS: Final = {"nogil": True, "error_model": "numpy"}

if numba.config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set")

jit: Final[Any] = numba.njit(**_OPTIONS)
"""Decorates what a kernel calls."""


def kernel(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a kernel, which is compiled at once, or loaded from numba's cache."""

    def compile_kernel(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(signature, cache=True, **_OPTIONS)(function)
        except (OSError, RuntimeError, EOFError):  # no folder for the cache, or a broken file in it
            return numba.njit(signature, **_OPTIONS)(function)

    return compile_kernel
