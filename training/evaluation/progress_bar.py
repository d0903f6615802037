"""Progress of a long command: a bar on a terminal, a few lines in a file or a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from tqdm import tqdm

_LINES: Final = 10


@contextmanager
def progress_bar(total: int, unit: str) -> Iterator[Callable[[], None]]:
    """Show on stderr how much is done; yields what to call after each unit."""
    done = 0
    with tqdm(total=total, unit=unit, leave=False, disable=None) as bar:

        def advance() -> None:
            nonlocal done
            bar.update()
            done += 1
            # tqdm shows nothing where there is no terminal.
            if bar.disable and done * _LINES // total > (done - 1) * _LINES // total:
                print(f"{done} of {total} {unit}s", file=sys.stderr, flush=True)

        yield advance
