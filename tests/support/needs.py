"""What a test needs and a machine may lack."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import pytest


def lacks(reason: str) -> NoReturn:
    """Skip the test; in continuous integration on Linux, where nothing may be missing, fail it."""
    if os.environ.get("CI", "").lower() in ("1", "true") and sys.platform == "linux":
        pytest.fail(reason)
    pytest.skip(reason)
