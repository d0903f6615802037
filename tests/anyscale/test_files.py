"""The Anyscale files, read by the real SDK and by Ray Serve's own schemas. No account needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from anyscale.client.openapi_client.models.supportedbaseimagesenum import SUPPORTEDBASEIMAGESENUM
from anyscale.job.models import JobConfig
from anyscale.service.models import ServiceConfig

from app.limits import REPLICA_REQUESTS
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
    from ray.serve.config import AutoscalingConfig

    (application,) = service.applications
    refuse_unknown(schema.ServeApplicationSchema, application)
    for deployment in application["deployments"]:
        refuse_unknown(schema.DeploymentSchema, deployment)
        autoscaling = deployment.get("autoscaling_config", {})
        refuse_unknown(AutoscalingConfig, autoscaling)
        refuse_unknown(schema.RayActorOptionsSchema, deployment["ray_actor_options"])
        AutoscalingConfig(**autoscaling)

    built = schema.ServeApplicationSchema(**application)
    assert built.import_path == "app.main:app"
    assert [deployment.name for deployment in built.deployments] == [
        "PolicyServer",
        "RenderServer",
    ]
    assert all(deployment.max_queued_requests > 0 for deployment in built.deployments)
    # What the settings leave room in for probes.
    assert built.deployments[0].max_ongoing_requests == REPLICA_REQUESTS


def test_service_options_are_what_serve_accepts(service: Any) -> None:
    from ray.serve.schema import HTTPOptionsSchema, LoggingConfig

    refuse_unknown(HTTPOptionsSchema, service.http_options)
    HTTPOptionsSchema(**service.http_options)
    film_timeout_s = Settings.model_fields["film_timeout_s"].default
    assert film_timeout_s < GATEWAY_TIMEOUT_S
    # It is the longest life of a WebSocket, too.
    assert service.http_options["request_timeout_s"] == 3600
    assert LoggingConfig(**service.logging_config).encoding == "JSON"


def test_a_single_replica_renders(service: Any) -> None:
    renderer = service.applications[0]["deployments"][1]
    assert renderer["name"] == "RenderServer"
    assert renderer["num_replicas"] == 1
    assert "autoscaling_config" not in renderer


def test_service_nodes_hold_every_replica(service: Any) -> None:
    deployments = service.applications[0]["deployments"]
    wanted = sum(
        (
            d["autoscaling_config"]["max_replicas"]
            if "autoscaling_config" in d
            else d["num_replicas"]
        )
        * d["ray_actor_options"]["num_cpus"]
        for d in deployments
    )
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


def test_serve_reads_what_the_image_tells_it() -> None:
    from ray.serve._private import constants

    told = {name for text in given("ENV") for name in re.findall(r"\bRAY_SERVE_\w+(?==)", text)}
    assert "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S" in told
    assert told <= set(re.findall(r"RAY_SERVE_\w+", Path(constants.__file__).read_text()))


def test_dockerfile_installs_exactly_the_requirements_but_ray() -> None:
    (install,) = [each for each in given("RUN") if "pip install" in each]
    wanted = requirements()
    del wanted[RAY]  # the base image brings it
    assert pins(install) == wanted
    assert len(install.split("--no-cache-dir")[1].split()) == len(wanted), "and nothing else"


def test_excludes_do_not_depend_on_gitignore(workloads: list[Any]) -> None:
    for workload in workloads:
        assert {".env", ".venv", "results"} <= set(workload.excludes)
