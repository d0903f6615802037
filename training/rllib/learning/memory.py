"""Configures the C library's allocator to keep freed memory for reuse."""

from __future__ import annotations

import ctypes
import platform

# Numbers of mallopt(3), from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGE = 1 << 30
_LARGEST_ONCE = 1 << 25
_PAD = 1 << 28


def keep_freed_memory() -> bool:
    """Let this process reuse large blocks instead of returning them to the system.

    A learner allocates and frees tensors of megabytes many times a second. By default glibc maps
    each one anew, and the page faults cost more than the arithmetic. Whether it took effect:
    other C libraries have no such setting.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # glibc before 2.35 takes no larger threshold than 32 MiB.
    threshold = mallopt(_MMAP_THRESHOLD, _LARGE) or mallopt(_MMAP_THRESHOLD, _LARGEST_ONCE)
    trim, pad = mallopt(_TRIM_THRESHOLD, _LARGE), mallopt(_TOP_PAD, _PAD)
    return bool(threshold and trim and pad)
