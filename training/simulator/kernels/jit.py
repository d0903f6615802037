"""How the kernels are compiled.

numba's cache notices changes of the file that a kernel is in, and of no other: each kernel's file
holds all that it calls. The constants that it imports become a part of the compiled code, so
delete ``__pycache__`` after changing one. Without ``fastmath``, all processors compute the same
bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

if getattr(numba.config, "DISABLE_JIT", 0):
    raise ImportError("NUMBA_DISABLE_JIT is set")

_Function = TypeVar("_Function", bound=Callable[..., Any])


def jit(function: _Function) -> _Function:
    """Decorate what a kernel calls."""
    return cast("_Function", numba.njit(nogil=True, error_model="numpy")(function))


def inlined(function: _Function) -> _Function:
    """Decorate what a kernel calls so often that the calls themselves would cost."""
    decorate = numba.njit(nogil=True, error_model="numpy", forceinline=True)
    return cast("_Function", decorate(function))


def kernel(signature: str) -> Callable[[_Function], _Function]:
    """Decorate a kernel, which is compiled at once, or loaded from numba's cache."""

    def compile_kernel(function: _Function) -> _Function:
        def compiled(*, cache: bool) -> _Function:
            decorate = numba.njit(signature, cache=cache, nogil=True, error_model="numpy")
            return cast("_Function", decorate(function))

        try:
            return compiled(cache=True)
        except (OSError, RuntimeError, EOFError):  # no folder for the cache, or a broken file in it
            return compiled(cache=False)

    return compile_kernel
