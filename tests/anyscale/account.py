"""The account that the command line finds: its user, its organization, a cloud and a project."""

from __future__ import annotations

from typing import Any

from tests.anyscale.bodies import external, internal, now
from tests.anyscale.operations import Operations, Request

ORGANIZATION = "org_1"
USER = "usr_1"
CLOUD = "cld_1"
PROJECT = "prj_1"


def mini_user() -> Any:
    """The user as other things name their maker."""
    return internal.MiniUser(id=USER, name="User", username="user", email="user@example.com")


def mini_cloud() -> Any:
    """The cloud as compute configs name it."""
    return internal.MiniCloud(id=CLOUD, name="cloud", provider="AWS")


class Account:
    """Answers who is asking, and where things go unless that is said."""

    def operations(self) -> Operations:
        """What can be asked."""
        return {
            ("GET", "/api/v2/userinfo/"): self._user,
            ("GET", "/api/v2/workos/deployment_infra"): self._infrastructure,
            ("GET", "/ext/v0/clouds/default"): self._cloud,
            ("GET", f"/ext/v0/clouds/{CLOUD}"): self._cloud,
            ("GET", "/ext/v0/projects/default_project"): self._default_project,
            ("GET", f"/api/v2/projects/{PROJECT}"): self._project,
        }

    def _user(self, request: Request) -> Any:
        organization = internal.Organization(
            id=ORGANIZATION,
            name="Organization",
            public_identifier="organization",
            is_general_platform_enabled=False,
            is_private_endpoints_enabled=False,
            is_usage_blocked=False,
        )
        return internal.UserInfo(
            id=USER,
            email="user@example.com",
            name="User",
            username="user",
            verified=True,
            organization_permission_level="collaborator",
            organization_ids=[ORGANIZATION],
            organizations=[organization],
            ld_hash="hash",
            ld_hash_fields=[],
            pylon_hash="hash",
        )

    def _infrastructure(self, request: Request) -> Any:
        return internal.DeploymentInfraResponse(deployment_infra="aws")

    def _cloud(self, request: Request) -> Any:
        return external.Cloud(
            id=CLOUD,
            name="cloud",
            provider="AWS",
            region="us-west-2",
            credentials="",
            type="PUBLIC",
            creator_id=USER,
            created_at=now(),
            is_default=True,
            customer_aggregated_logs_config_id="",
        )

    def _default_project(self, request: Request) -> Any:
        return external.Project(
            id=PROJECT,
            name="default",
            cluster_config="",
            parent_cloud_id=request.query["parent_cloud_id"],
            created_at=now(),
            organization_id=ORGANIZATION,
            is_default=True,
            directory_name="default",
        )

    def _project(self, request: Request) -> Any:
        return internal.Project(
            id=PROJECT,
            name="default",
            description="",
            created_at=now(),
            is_owner=True,
            is_read_only=False,
            directory_name="default",
            is_default=True,
        )
