"""Jobs and services, as they were submitted. None of them is run here."""

from __future__ import annotations

import secrets
from typing import Any

from tests.anyscale.account import CLOUD, PROJECT, USER, mini_user
from tests.anyscale.bodies import encode, internal, now, read
from tests.anyscale.compute_configs import ComputeConfigs
from tests.anyscale.images import Images
from tests.anyscale.operations import Listing, Operations, Request


class Jobs:
    """Takes jobs."""

    def __init__(self, images: Images, compute_configs: ComputeConfigs) -> None:
        self._images = images
        self._compute_configs = compute_configs
        self.submitted: dict[str, Any] = {}
        """Job's id → what was sent, as it came."""

    def operations(self) -> Operations:
        """What can be asked."""
        return {("POST", "/api/v2/decorated_ha_jobs/create"): self._create}

    def _create(self, request: Request) -> Any:
        wanted = read(internal, "CreateInternalProductionJob", request.body)
        self._images.find(wanted.config.build_id)
        self._compute_configs.find(wanted.config.compute_config_id)
        job_id = f"prodjob_{len(self.submitted) + 1}"
        self.submitted[job_id] = request.body
        return internal.InternalProductionJob(
            id=job_id,
            name=wanted.name,
            created_at=now(),
            creator_id=USER,
            config=read(internal, "ProductionJobConfig", request.body["config"]),
            state=internal.ProductionJobStateTransition(
                id="state_1", state_transitioned_at=now(), current_state="PENDING"
            ),
            project_id=wanted.project_id,
            overview_url="",
            is_service=False,
            cloud_id=CLOUD,
        )


class Services:
    """Takes services, and makes each a token that its callers need."""

    def __init__(self, images: Images, compute_configs: ComputeConfigs, url: str) -> None:
        """Say of every service that it is found at ``url``."""
        self._images = images
        self._compute_configs = compute_configs
        self._url = url
        self.applied: dict[str, Any] = {}
        """Service's name → what was sent last, as it came."""
        self.tokens: dict[str, str] = {}
        """Service's name → what its callers have to show."""

    def operations(self) -> Operations:
        """What can be asked."""
        services = "/api/v2/services-v2"
        return {
            ("GET", f"{services}/"): self._list,
            ("PUT", f"{services}/apply"): self._apply,
        }

    def _apply(self, request: Request) -> Any:
        wanted = read(internal, "ApplyProductionServiceV2Model", request.body)
        self._images.find(wanted.build_id)
        self._compute_configs.find(wanted.compute_config_id)
        self.applied[wanted.name] = request.body
        if wanted.config.access.use_bearer_token:
            self.tokens.setdefault(wanted.name, secrets.token_urlsafe(32))
        return self._describe(wanted.name)

    def _list(self, request: Request) -> Any:
        found = [name for name in self.applied if request.query["name"] in name]
        described = [{**encode(self._describe(name)), "type": "V2"} for name in found]
        return Listing([read(internal, "DecoratedListServiceAPIModel", d) for d in described])

    def _describe(self, name: str) -> Any:
        sent = self.applied[name]
        version = internal.DecoratedProductionServiceV2VersionAPIModel(
            id="version_1",
            created_at=now(),
            weight=100,
            version="v1",
            ray_serve_config=sent["ray_serve_config"],
            build_id=sent["build_id"],
            compute_config_id=sent["compute_config_id"],
            production_job_ids=[],
            current_state="RUNNING",
        )
        return internal.DecoratedProductionServiceV2APIModel(
            id="service_1",
            name=name,
            project_id=PROJECT,
            cloud_id=CLOUD,
            creator_id=USER,
            created_at=now(),
            hostname="",
            current_state="RUNNING",
            goal_state="RUNNING",
            auth_token=self.tokens.get(name),
            auto_rollout_enabled=True,
            versions=[version],
            primary_version=version,
            service_observability_urls=internal.ServiceObservabilityUrls(),
            base_url=self._url,
            creator=mini_user(),
            is_multi_version=False,
        )
