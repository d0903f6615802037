"""Loads the compiled drawing code."""

from __future__ import annotations

import logging
from functools import cache
from types import ModuleType

_logger = logging.getLogger(__name__)


@cache
def load_kernel() -> ModuleType | None:
    """Return the module ``kernel``, compiled; None, with a warning, if numba cannot run.

    The first process on a machine compiles for some seconds. numba then keeps the code beside the
    source file or, if that is not writable, in the user's cache folder or ``NUMBA_CACHE_DIR``.
    Processes may do this at the same time: numba writes whole files under their final names.
    """
    try:
        from training.simulator import kernel
    except Exception as error:  # noqa: BLE001 (any failure of numba: pictures can still be drawn)
        _logger.warning(
            "the simulator draws with pygame, about 10 times slower, because numba cannot run: %s",
            " ".join(str(error).split())[:300] or repr(error),
        )
        return None
    return kernel
