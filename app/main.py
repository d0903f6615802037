"""The Serve application ``app.main:app``: what ``serve run`` and service.yaml point at."""

from __future__ import annotations

from ray import serve

from app.limits import RENDERER_CPUS, REPLICA_CPUS, REPLICA_REQUESTS
from app.policy_server import PolicyServer
from app.rendering.render_server import RenderServer

# Defaults that let both start on a laptop; service.yaml overrides them.
RenderDeployment = serve.deployment(
    RenderServer,
    name="RenderServer",
    num_replicas=1,
    # Waiting for a film costs nothing; how many wait is bounded by the studio and the ingress.
    max_ongoing_requests=256,
    max_queued_requests=256,
    ray_actor_options={"num_cpus": RENDERER_CPUS},
    health_check_period_s=2,
    health_check_timeout_s=60,
    graceful_shutdown_wait_loop_s=1,
    graceful_shutdown_timeout_s=30,
)
PolicyDeployment = serve.deployment(
    serve.ingress()(PolicyServer),
    name="PolicyServer",
    num_replicas=1,
    # More than settings let wait, so that probes always find room.
    max_ongoing_requests=REPLICA_REQUESTS,
    max_queued_requests=256,
    backpressure_config={"status_code": 503, "retry_after_s": 1},
    ray_actor_options={"num_cpus": REPLICA_CPUS},
    health_check_period_s=2,
    health_check_timeout_s=30,
    graceful_shutdown_wait_loop_s=1,
    graceful_shutdown_timeout_s=30,
)


def make_app(replicas: int) -> serve.Application:
    """The application with so many processes that answer."""
    return PolicyDeployment.options(num_replicas=replicas).bind(RenderDeployment.bind())


app = make_app(1)
