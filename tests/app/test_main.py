from __future__ import annotations

from app.limits import REPLICA_REQUESTS
from app.main import PolicyDeployment, RenderDeployment, app
from app.settings import Settings


def test_the_application_is_two_deployments_with_bounds() -> None:
    assert (PolicyDeployment.name, RenderDeployment.name) == ("PolicyServer", "RenderServer")
    for deployment in (PolicyDeployment, RenderDeployment):
        assert deployment.max_queued_requests > 0
        assert deployment.ray_actor_options["num_cpus"] == 0.5
    assert type(app).__name__ == "Application"


def test_probes_find_room_beside_everything_that_may_wait() -> None:
    # Settings refuse to let more wait than that, less the probes.
    assert PolicyDeployment.max_ongoing_requests == REPLICA_REQUESTS
    settings = Settings()
    assert settings.film_pending <= RenderDeployment.max_ongoing_requests
