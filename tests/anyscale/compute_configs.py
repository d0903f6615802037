"""Compute configs, registered under a name or without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.anyscale.account import ORGANIZATION, USER, mini_cloud, mini_user
from tests.anyscale.bodies import encode, external, internal, now, read
from tests.anyscale.operations import Listing, NotFoundError, Operations, Request


@dataclass(frozen=True)
class Registered:
    """A version of a compute config."""

    id: str
    name: str
    version: int
    anonymous: bool
    config: Any
    """As it was sent."""

    def fields(self) -> dict[str, Any]:
        """What every model of it has."""
        return {
            "id": self.id,
            "name": self.name,
            "version": self.version,
            "anonymous": self.anonymous,
            "creator_id": USER,
            "organization_id": ORGANIZATION,
            "created_at": now(),
            "last_modified_at": now(),
        }


class ComputeConfigs:
    """Registers compute configs and finds them again."""

    def __init__(self) -> None:
        self.registered: list[Registered] = []

    def operations(self) -> Operations:
        """What can be asked."""
        return {
            ("POST", "/api/v2/compute_templates/"): self._create,
            ("POST", "/api/v2/compute_templates/search"): self._search,
            ("GET", "/api/v2/compute_templates/{id}"): self._get,
            ("GET", "/ext/v0/cluster_computes/{id}"): self._get_external,
        }

    def find(self, config_id: str) -> Registered:
        """The one with this id; raises NotFoundError."""
        for each in self.registered:
            if each.id == config_id:
                return each
        raise NotFoundError(f"compute config {config_id}")

    def _create(self, request: Request) -> Any:
        wanted = read(internal, "CreateComputeTemplate", request.body)
        number = len(self.registered) + 1
        name = wanted.name or f"anonymous-{number}"
        made = Registered(
            f"cpt_{number}",
            name,
            1 + sum(each.name == name for each in self.registered),
            wanted.anonymous,
            request.body["config"],
        )
        self.registered.append(made)
        return internal.ComputeTemplate(**made.fields(), config=wanted.config)

    def _search(self, request: Request) -> Any:
        name = read(internal, "ComputeTemplateQuery", request.body).name.equals
        found = [each for each in self.registered if each.name == name]
        return Listing([self._decorated(each) for each in found[-1:]])

    def _get(self, request: Request) -> Any:
        return self._decorated(self.find(request.ids["id"]))

    def _get_external(self, request: Request) -> Any:
        found = self.find(request.ids["id"])
        config = read(external, "ClusterComputeConfig", found.config)
        return external.ClusterCompute(**found.fields(), config=config)

    def _decorated(self, found: Registered) -> Any:
        config = {**found.config, "cloud": encode(mini_cloud())}
        return internal.DecoratedComputeTemplate(
            **found.fields(),
            config=read(internal, "DecoratedComputeTemplateConfig", config),
            creator=mini_user(),
        )
