"""Builders and stores that the tests of several modules share."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Protocol
from uuid import uuid4

import pytest
import torch
from pyarrow import fs

from tests.certificates import own_certificate
from tests.s3_server import limited_to, serve_s3
from training.environment.actions import ActionFilter
from training.environment.observation import Pipeline
from training.environment.seeds import VALIDATION_SEEDS
from training.policy.acting import Policy, weights_to_bytes
from training.policy.manifest import Manifest
from training.policy.network import Actor, ConvLayer, NetworkShape
from training.policy.published import PublishedPolicy
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore
from training.store.published import describe_files
from training.store.storage import Storage
from training.store.validation_scores import Validation, point_to_best, write_validations

# Ray starts its processes with niceness 15: beside other work the tests would hardly get on.
os.environ.setdefault("RAY_worker_niceness", "0")

PIPELINE = Pipeline()
SMALL_NETWORK = NetworkShape(convolutions=(ConvLayer(4, 8, 4), ConvLayer(4, 4, 2)), hidden=8)
FIRST_PUBLISHED = datetime(2026, 1, 1, tzinfo=UTC)


class PublishPolicy(Protocol):
    """Publishes a small policy with random weights; fields of its manifest can be named."""

    def __call__(
        self, store: PolicyStore, *, iteration: int = 1, run: str = "run-a", **fields: Any
    ) -> PolicyRef: ...


def build_actor(
    seed: int = 0, shape: NetworkShape = SMALL_NETWORK, *, means: Sequence[float] = ()
) -> Actor:
    """An actor with random weights; ``means`` shifts the means of its outputs."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        actor = Actor(shape, PIPELINE.size, PIPELINE.stack)
    head = actor.head[-1]
    assert isinstance(head, torch.nn.Linear)
    with torch.no_grad():
        head.bias[: len(means)] += torch.tensor(means)
    return actor


def build_manifest(
    weights: bytes, *, iteration: int = 1, run: str = "run-a", **fields: Any
) -> Manifest:
    """The manifest of these weights; a later iteration is published later."""
    files = describe_files(weights)
    described: dict[str, Any] = {
        "version": f"{run}-{iteration:06d}-{files['policy.safetensors'].sha256[:8]}",
        "recipe": "published",
        "run": run,
        "trial": "trial-1",
        "iteration": iteration,
        "phase": "explore",
        "env_steps": 4096 * iteration,
        "mean_return": 12.5,
        "git_revision": None,
        "created_at": FIRST_PUBLISHED + timedelta(minutes=iteration),
        "pipeline": PIPELINE,
        "network": SMALL_NETWORK,
        "action_mapping": "clip_unit_to_bounds",
        "action_filter": ActionFilter(),
        "files": files,
    }
    return Manifest.model_validate(described | fields)


def build_policy(actor: Actor | None = None, **fields: Any) -> Policy:
    """A loaded policy, as if its actor had been published."""
    weights = weights_to_bytes(actor or build_actor())
    return Policy.from_published(PublishedPolicy(build_manifest(weights, **fields), weights))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take minutes are begun first, so that the others fill up the rest."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def give_scores(store: PolicyStore, scores: dict[PolicyRef, float]) -> None:
    """Validate these policies, and no others of their runs."""
    for run in {ref.run for ref in scores}:
        validations = {
            ref.version: Validation(scores={VALIDATION_SEEDS[0]: score})
            for ref, score in scores.items()
            if ref.run == run
        }
        write_validations(store.storage, run, validations)
    point_to_best(store.storage)


def exists(storage: Storage, relative: str) -> bool:
    """Whether a file or folder is there."""
    found = storage.filesystem.get_file_info(storage.at(relative)).type
    return bool(found != fs.FileType.NotFound)


@pytest.fixture
def publish_policy() -> PublishPolicy:
    def publish(
        store: PolicyStore, *, iteration: int = 1, run: str = "run-a", **fields: Any
    ) -> PolicyRef:
        weights = weights_to_bytes(build_actor(seed=iteration))
        return store.publish(
            build_manifest(weights, iteration=iteration, run=run, **fields), weights
        )

    return publish


@pytest.fixture
def store(tmp_path: Path) -> PolicyStore:
    """An empty store on the disk."""
    return PolicyStore.open(str(tmp_path / "store"))


@pytest.fixture(scope="module")
def s3_bucket() -> Iterator[str]:
    """The address of a bucket on a server that speaks S3."""
    with serve_s3() as server, pytest.MonkeyPatch.context() as environment:
        environment.delenv("AWS_ENDPOINT_URL_S3", raising=False)
        for name, value in server.variables.items():
            environment.setenv(name, value)
        server.filesystem().create_dir("bucket")
        yield "s3://bucket"


@pytest.fixture(scope="module")
def private_root(
    s3_bucket: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[str, str]]]:
    """A root for a key that may use only what is below it, on a server with a certificate of its
    own; and the variables with which it is used.
    """
    folder = tmp_path_factory.mktemp("certificates")
    tls = own_certificate(folder)
    with serve_s3(limit=limited_to("bucket", "team/alice/"), tls=tls) as server:
        yield (
            f"{s3_bucket}/team/alice",
            server.variables | {"AWS_CA_BUNDLE": str(folder / "certificate.pem")},
        )


@pytest.fixture(scope="module")
def gs_bucket() -> Iterator[str]:
    """The address of a bucket on a server that speaks as Google's storage does."""
    from gcp_storage_emulator.handlers import buckets
    from gcp_storage_emulator.server import RequestHandler
    from gcp_storage_emulator.storage import Storage as Emulated

    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    emulated = Emulated(use_memory_fs=True)
    buckets.create_bucket("bucket", emulated)
    server = HTTPServer(("127.0.0.1", 0), partial(RequestHandler, emulated))
    thread = Thread(target=server.serve_forever)
    thread.start()
    with pytest.MonkeyPatch.context() as environment:
        host, port = server.server_address[:2]
        environment.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", f"http://{host!s}:{port}")
        yield "gs://bucket"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def disk_root(tmp_path: Path) -> str:
    """An empty storage root on the disk."""
    return str(tmp_path / "store")


@pytest.fixture(params=["disk", "s3", "gs"])
def any_root(request: pytest.FixtureRequest, disk_root: str) -> str:
    """An empty storage root of every kind in turn."""
    if request.param == "disk":
        return disk_root
    return f"{request.getfixturevalue(f'{request.param}_bucket')}/{uuid4().hex}"


@pytest.fixture
def any_store(any_root: str) -> PolicyStore:
    """An empty store on every kind of storage in turn."""
    return PolicyStore.open(any_root)
