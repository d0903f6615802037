"""Loads the compiled code."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any, NamedTuple

_logger = logging.getLogger(__name__)


class Kernels(NamedTuple):
    """The compiled functions; the modules that they are in say what they take."""

    draw_ground: Any
    draw_overlay: Any
    shrink: Any
    trace: Any


@cache
def load_kernels() -> Kernels | None:
    """Return the compiled functions; None, with a warning, if numba cannot run.

    The first process on a machine compiles for some seconds. numba then keeps the code beside the
    source file or, if that is not writable, in the user's cache folder or ``NUMBA_CACHE_DIR``.
    Processes may do this at the same time: numba writes whole files, and then renames them.
    """
    try:
        from training.simulator.kernels.ground import draw_ground
        from training.simulator.kernels.overlay import draw_overlay
        from training.simulator.kernels.shrink import shrink
        from training.simulator.kernels.track import trace
    except Exception as error:  # noqa: BLE001 (any failure of numba: there is a way without it)
        _logger.warning(
            "numba cannot run, so the simulator draws as Gymnasium does, 10 to 20 times slower: %s",
            " ".join(str(error).split())[:300] or repr(error),
        )
        return None
    return Kernels(draw_ground, draw_overlay, shrink, trace)
