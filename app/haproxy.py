"""Starts HAProxy in place of its binary, as Serve on this machine needs it.

Serve runs ``python -I app/haproxy.py BINARY -f CONFIGURATION …`` (:mod:`app.proxy` sees to that)
each time it has written the configuration. This takes out of it what a single machine does not
want, and becomes the binary, as the process that Serve has started and watches.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1

# A section goes on until another one's name begins a line.
_STATISTICS = re.compile(
    r"^(?:frontend prometheus|listen stats)\n(?:(?:[ \t#].*)?\n)*", re.MULTILINE
)


def without_statistics(configuration: str) -> str:
    """A configuration without the two pages of statistics.

    Serve does not read them, they listen on every network, and always on the same ports, so that
    a second service on the machine would not start.
    """
    return _STATISTICS.sub("", configuration)


def main(binary: str, *arguments: str) -> None:
    """Become HAProxy; what goes wrong ends the process, and Serve tells it."""
    # It would outlive a Serve that is killed, and keep the port.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Serve does not write it again before this process answers, or has ended.
    path = Path(arguments[arguments.index("-f") + 1])
    path.write_text(without_statistics(path.read_text()))
    os.execv(binary, [binary, *arguments])  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
