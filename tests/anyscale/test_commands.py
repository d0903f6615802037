"""What the command line sends of the shipped files."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from tests.anyscale.conftest import REVISION, Anyscale, Job, Project
from training.train import parse


def read(project: Project, name: str) -> dict[str, Any]:
    content = yaml.safe_load((project.folder / name).read_text())
    assert isinstance(content, dict)
    return content


def test_the_job_s_entrypoint_is_one_that_training_takes(job: Job, project: Project) -> None:
    entrypoint = job.sent["config"]["entrypoint"]
    assert entrypoint == read(project, "job.yaml")["entrypoint"]
    assert shlex.split(entrypoint)[:3] == ["python", "-m", "training.train"]
    command = parse(shlex.split(entrypoint)[3:])
    assert command.recipe_name == "swift"
    assert command.options.num_gpus == 1


def test_the_job_is_told_what_the_command_line_was(job: Job) -> None:
    assert job.sent["config"]["runtime_env"]["env_vars"] == {"CARRACING_GIT_REVISION": REVISION}


def test_the_job_is_retried_as_the_file_says(job: Job, project: Project) -> None:
    wanted = read(project, "job.yaml")
    assert job.sent["config"]["max_retries"] == wanted["max_retries"]
    assert job.sent["config"]["timeout_s"] == wanted["timeout_s"]


def test_the_job_s_nodes_are_a_head_without_cpus_and_a_t4(anyscale: Anyscale, job: Job) -> None:
    found = anyscale.control_plane.compute_configs.find(job.sent["config"]["compute_config_id"])
    assert found.anonymous
    head = found.config["head_node_type"]
    assert head["instance_type"] == "m5.2xlarge"
    assert head["resources"]["cpu"] == 0
    (worker,) = found.config["worker_node_types"]
    assert worker["instance_type"] == "g4dn.2xlarge"
    assert (worker["min_workers"], worker["max_workers"]) == (0, 1)
    assert worker["use_spot"]
    assert worker["fallback_to_ondemand"]


def test_the_registered_compute_config_is_the_job_s(
    anyscale: Anyscale, job: Job, other_job: Job, registered: str
) -> None:
    find = anyscale.control_plane.compute_configs.find
    named = find(other_job.sent["config"]["compute_config_id"])
    assert (named.name, named.version, named.anonymous) == (registered, 1, False)
    assert named.config == find(job.sent["config"]["compute_config_id"]).config


def test_another_entrypoint_takes_the_file_s_place(other_job: Job) -> None:
    entrypoint = other_job.sent["config"]["entrypoint"]
    assert entrypoint == "python -m training.train --recipe published --num-gpus 1"
    assert parse(shlex.split(entrypoint)[3:]).recipe_name == "published"
    assert "env_vars" not in other_job.sent["config"]["runtime_env"]


def test_both_images_are_built_from_the_text_of_the_dockerfile(
    anyscale: Anyscale, job: Job, other_job: Job, service: dict[str, Any], project: Project
) -> None:
    images = anyscale.control_plane.images
    assert {each.containerfile for each in images.builds} == {
        (project.folder / "Dockerfile").read_text()
    }
    assert {each.name for each in images.environments} == {
        "image-for-job-carracing-ppo",
        "image-for-service-carracing",
    }
    # A second job of that name has the first one's.
    assert len(images.builds) == 2
    assert job.sent["config"]["build_id"] == other_job.sent["config"]["build_id"]
    assert service["build_id"] != job.sent["config"]["build_id"]


def test_the_service_s_application_is_the_file_s(service: dict[str, Any], project: Project) -> None:
    wanted = read(project, "service.yaml")
    sent = service["ray_serve_config"]
    (application,) = sent["applications"]
    assert [{k: v for k, v in application.items() if k != "runtime_env"}] == wanted["applications"]
    assert sent["http_options"] == wanted["http_options"]
    assert sent["logging_config"] == wanted["logging_config"]


def test_the_service_s_nodes_are_ordinary_ones(anyscale: Anyscale, service: dict[str, Any]) -> None:
    found = anyscale.control_plane.compute_configs.find(service["compute_config_id"])
    assert found.config["head_node_type"]["resources"]["cpu"] == 0
    (worker,) = found.config["worker_node_types"]
    assert worker["min_workers"] == 2
    assert not worker["use_spot"]


def test_callers_need_a_token_that_the_status_shows(
    anyscale: Anyscale, service: dict[str, Any], status: dict[str, Any]
) -> None:
    assert service["config"]["access"] == {"use_bearer_token": True}
    assert status["query_auth_token"] == anyscale.control_plane.services.tokens["carracing"]
    assert status["query_url"].startswith("http://127.0.0.1:")
