"""Stop the service: open drives are closed, and requests that have arrived are answered."""

from __future__ import annotations

import contextlib
from typing import Final

_CLOSE_DRIVES_S: Final = 10.0


def stop_service(application: str, *, owns_ray: bool) -> None:
    """Delete a Serve application, and stop Serve if it runs for this application alone.

    Args:
        application: Its name.
        owns_ray: Whether this process started Ray.
    """
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    errors = contextlib.suppress(RayServeException, RayError, TimeoutError)
    # A replica waits for its open WebSockets before it stops.
    with errors:
        handle = serve.get_app_handle(application)
        handle.close_drives.remote().result(timeout_s=_CLOSE_DRIVES_S)
    # This waits for requests; serve.shutdown alone would stop the proxies meanwhile.
    with errors:
        serve.delete(application)
    if owns_ray:
        with errors:
            serve.shutdown()
