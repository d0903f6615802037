"""compute_config.yaml on other clouds, as its comments say: registered by the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.anyscale.conftest import Anyscale, Project

GIB = 2**30


def variants(project: Project) -> dict[str, dict[str, Any]]:
    """Cloud → kind of node → what it has there in place of its instance type, from the comments."""
    text = (project.folder / "compute_config.yaml").read_text()
    blocks = re.findall(r"^# (\w+:\n(?:#   .*\n)+)", text, re.MULTILINE)
    found = yaml.safe_load("".join(block.replace("\n# ", "\n") for block in blocks))
    assert isinstance(found, dict)
    return found


def register(anyscale: Anyscale, project: Project, cloud: str, folder: Path) -> dict[str, Any]:
    """Register the file with one cloud's nodes; what was sent of it."""
    config = yaml.safe_load((project.folder / "compute_config.yaml").read_text())
    changes = variants(project)[cloud]
    assert set(changes) == {"head_node", "worker_nodes"}
    for node in (config["head_node"], *config["worker_nodes"]):
        del node["instance_type"]
    config["head_node"] |= changes["head_node"]
    for node in config["worker_nodes"]:
        node.update(changes["worker_nodes"])
    file = folder / "compute_config.yaml"
    file.write_text(yaml.safe_dump(config))
    anyscale.run("compute-config", "create", "-n", cloud, "-f", str(file))
    registered = anyscale.control_plane.compute_configs.registered[-1]
    assert registered.name == cloud
    sent = registered.config
    assert isinstance(sent, dict)
    return sent


def check_but_the_machines(sent: dict[str, Any]) -> dict[str, Any]:
    """What is the same on every cloud; the group of workers."""
    assert sent["head_node_type"]["resources"]["cpu"] == 0
    (worker,) = sent["worker_node_types"]
    assert (worker["min_workers"], worker["max_workers"]) == (0, 1)
    assert worker["use_spot"]
    assert worker["fallback_to_ondemand"]
    assert isinstance(worker, dict)
    return worker


def test_on_gcp(anyscale: Anyscale, project: Project, tmp_path: Path) -> None:
    sent = register(anyscale, project, "gcp", tmp_path)
    worker = check_but_the_machines(sent)
    assert sent["head_node_type"]["instance_type"] == "n2-standard-8"
    assert worker["instance_type"] == "n1-standard-8-nvidia-t4-16gb-1"


def test_on_kubernetes(anyscale: Anyscale, project: Project, tmp_path: Path) -> None:
    sent = register(anyscale, project, "kubernetes", tmp_path)
    worker = check_but_the_machines(sent)
    machine = {"cpu": 8, "memory": 32 * GIB}
    assert sent["head_node_type"]["required_resources"] == machine
    assert worker["required_resources"] == machine | {"gpu": 1}
    assert worker["required_labels"] == {"ray.io/accelerator-type": "T4"}
