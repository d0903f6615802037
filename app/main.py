"""The Serve application ``app.main:app``: what ``serve run`` and service.yaml point at.

All options of its deployments are here. A cluster uses them as they are; ``app.local`` replaces
autoscaling with a fixed number of replicas.
"""

from __future__ import annotations

from typing import Final

from ray import serve

from app.limits import MAX_ONGOING_REQUESTS, MAX_QUEUED_REQUESTS, RETRY_AFTER_S
from app.policy_server import PolicyServer
from app.rendering.render_server import RenderServer

MIN_REPLICAS: Final = 2
"""One may die or restart without an outage."""
MAX_REPLICAS: Final = 8

RenderDeployment = serve.deployment(
    RenderServer,
    name="RenderServer",
    # A second replica would render the same film again: each has a cache of its own.
    num_replicas=1,
    # All but one of them wait; the ingress limits their number.
    max_ongoing_requests=MAX_ONGOING_REQUESTS,
    max_queued_requests=MAX_QUEUED_REQUESTS,
    ray_actor_options={"num_cpus": 1},
    health_check_period_s=2,
    health_check_timeout_s=60,  # rendering can hold the interpreter for a while
    graceful_shutdown_wait_loop_s=2,
    graceful_shutdown_timeout_s=120,
)
PolicyDeployment = serve.deployment(
    serve.ingress()(PolicyServer),
    name="PolicyServer",
    autoscaling_config={
        "min_replicas": MIN_REPLICAS,
        "max_replicas": MAX_REPLICAS,
        "target_ongoing_requests": 16,
    },
    # app.middleware.admission admits fewer, so that a refusal or a probe never waits in Serve.
    max_ongoing_requests=MAX_ONGOING_REQUESTS,
    max_queued_requests=MAX_QUEUED_REQUESTS,
    backpressure_config={"status_code": 503, "retry_after_s": RETRY_AFTER_S},
    ray_actor_options={"num_cpus": 1},
    health_check_period_s=2,  # a replica that has died is missed at the next one
    health_check_timeout_s=30,
    graceful_shutdown_wait_loop_s=2,
    graceful_shutdown_timeout_s=130,  # lets the films that were asked for arrive
)

app = PolicyDeployment.bind(RenderDeployment.bind())


def make_app(replicas: int) -> serve.Application:
    """The application with a fixed number of ingress replicas."""
    fixed = PolicyDeployment.options(num_replicas=replicas, autoscaling_config=None)
    return fixed.bind(RenderDeployment.bind())
