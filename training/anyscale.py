"""What Anyscale's environment variables say about this process."""

from __future__ import annotations

import os
from collections.abc import Mapping


def anyscale_job(environ: Mapping[str, str] | None = None) -> str | None:
    """The id of the Anyscale job that this process is a part of, if it is one."""
    environ = os.environ if environ is None else environ
    return environ.get("ANYSCALE_HA_JOB_ID") or environ.get("ANYSCALE_JOB_ID")


def on_anyscale(environ: Mapping[str, str] | None = None) -> bool:
    """Whether this process runs on an Anyscale cluster: in a job or in a workspace."""
    environ = os.environ if environ is None else environ
    return "ANYSCALE_SESSION_ID" in environ or anyscale_job(environ) is not None
