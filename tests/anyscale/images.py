"""Images, built from the text of a Dockerfile alone."""

from __future__ import annotations

from typing import Any

from tests.anyscale.account import ORGANIZATION, USER
from tests.anyscale.bodies import external, now, read
from tests.anyscale.operations import Listing, NotFoundError, Operations, Request


class Images:
    """Takes Dockerfiles, and says that each was built, which it was not."""

    def __init__(self) -> None:
        self.environments: list[Any] = []
        """Each is a name that builds belong to."""
        self.builds: list[Any] = []

    def operations(self) -> Operations:
        """What can be asked."""
        environments, builds = "/ext/v0/cluster_environments", "/ext/v0/cluster_environment_builds"
        return {
            ("POST", f"{environments}/search"): self._search,
            ("POST", f"{environments}/"): self._create_environment,
            ("GET", environments + "/{id}"): self._get_environment,
            ("GET", f"{builds}/"): self._list_builds,
            ("POST", f"{builds}/"): self._build,
            ("GET", builds + "/{id}"): self._get_build,
        }

    def find(self, build_id: str) -> Any:
        """The build with this id; raises NotFoundError."""
        return _find(self.builds, build_id)

    def _search(self, request: Request) -> Any:
        name = read(external, "ClusterEnvironmentsQuery", request.body).name.equals
        return Listing([each for each in self.environments if each.name == name])

    def _create_environment(self, request: Request) -> Any:
        wanted = read(external, "CreateClusterEnvironment", request.body)
        made = external.ClusterEnvironment(
            id=f"apt_{len(self.environments) + 1}",
            name=wanted.name,
            anonymous=wanted.anonymous,
            organization_id=ORGANIZATION,
            creator_id=USER,
            created_at=now(),
            last_modified_at=now(),
        )
        self.environments.append(made)
        return made

    def _get_environment(self, request: Request) -> Any:
        return _find(self.environments, request.ids["id"])

    def _list_builds(self, request: Request) -> Any:
        environment = request.query["cluster_environment_id"]
        found = [each for each in self.builds if each.cluster_environment_id == environment]
        return Listing(found[::-1])

    def _build(self, request: Request) -> Any:
        wanted = read(external, "CreateClusterEnvironmentBuild", request.body)
        environment = _find(self.environments, wanted.cluster_environment_id)
        number = len(self.builds) + 1
        made = external.ClusterEnvironmentBuild(
            id=f"bld_{number}",
            cluster_environment_id=environment.id,
            containerfile=wanted.containerfile,
            containerfile_path=wanted.containerfile_path,
            docker_image_name=f"organization/{environment.name}:{number}",
            ray_version=wanted.ray_version,
            revision=number,
            creator_id=USER,
            status="pending",
            created_at=now(),
            last_modified_at=now(),
            is_byod=False,
        )
        self.builds.append(made)
        return external.ClusterEnvironmentBuildOperation(
            id=f"op_{number}", completed=False, cluster_environment_build_id=made.id
        )

    def _get_build(self, request: Request) -> Any:
        found = self.find(request.ids["id"])
        # The first to ask is told to wait, as everybody is who has an image built.
        after = {"pending": "in_progress", "in_progress": "succeeded"}
        found.status = after.get(found.status, found.status)
        return found


def _find(those: list[Any], wanted: str) -> Any:
    for each in those:
        if each.id == wanted:
            return each
    raise NotFoundError(wanted)
