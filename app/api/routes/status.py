"""The served policy, the policies in storage, and health probes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.api.conditional import NOT_MODIFIED, answer_if_changed
from app.api.schemas import (
    Health,
    ListedPolicy,
    LoadedPolicyFacts,
    Policies,
    PolicyQuery,
    PolicySummary,
    ValidationScore,
)
from app.api.service import Service, policy_headers
from app.problems import problems
from training.policy.manifest import Manifest
from training.store.layout import PolicyRef
from training.store.policies import Listing


class PoliciesQuery(BaseModel):
    """The query parameters of ``GET /policies``."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    """Largest number of policies to list."""


def _summary(manifest: Manifest) -> PolicySummary:
    return PolicySummary(**PolicySummary.facts(manifest))


def _listed(manifest: Manifest, listing: Listing) -> ListedPolicy:
    validation = listing.validations.get(PolicyRef(run=manifest.run, version=manifest.version))
    return ListedPolicy(
        **PolicySummary.facts(manifest),
        validation=None if validation is None else ValidationScore.of(validation),
    )


def status_routes(service: Service) -> APIRouter:
    """Return the routes of status and health."""
    router = APIRouter(tags=["status"])

    @router.head("/policy", include_in_schema=False)
    @router.get("/policy", responses=problems(404, 422, 503), summary="A policy")
    async def policy(
        response: Response, query: Annotated[PolicyQuery, Query()]
    ) -> LoadedPolicyFacts:
        """The manifest of the served policy, or of the one that `policy` names."""
        loaded = await service.policies.find(query.policy)
        manifest = loaded.policy.manifest
        response.headers.update(policy_headers(loaded))
        response.headers["Cache-Control"] = "no-store"
        return LoadedPolicyFacts(
            **PolicySummary.facts(manifest),
            source=loaded.source,
            loaded_at=loaded.loaded_at,
            age_s=(datetime.now(UTC) - manifest.created_at).total_seconds(),
            pipeline=manifest.pipeline,
            observation_shape=manifest.pipeline.observation_shape,
            last_error=service.watcher.last_error,
        )

    @router.head("/policies", include_in_schema=False)
    @router.get(
        "/policies",
        response_model=Policies,
        responses=NOT_MODIFIED | problems(422, 503),
        summary="Policies in storage",
    )
    async def policies(request: Request, query: Annotated[PoliciesQuery, Query()]) -> Response:
        """Published policies, newest first, with their scores, and broken policies.

        The list may be a few seconds old.
        """
        listing = await service.lister.listing()
        loaded, fallback = service.watcher.loaded, service.watcher.fallback
        broken = {ref.version: reason for ref, reason in listing.broken.items()}
        # A deleted policy is reported only while it is why no newer one is served.
        listed = {manifest.version for manifest in listing.policies}
        at_fault = service.watcher.last_error is not None
        broken |= {
            name: reason
            for name, reason in service.watcher.broken.items()
            if at_fault or name in listed
        }
        latest, best = service.watcher.named("latest"), service.watcher.named("best")
        body = Policies(
            storage=service.store.storage.root,
            follow=service.watcher.follow,
            loaded=loaded.policy.version if loaded else None,
            source=loaded.source if loaded else None,
            bundled=_summary(fallback.manifest) if fallback else None,
            latest=latest.version if latest else None,
            best=best.version if best else None,
            total=len(listing.policies),
            validated=len(listing.validations),
            policies=[_listed(manifest, listing) for manifest in listing.policies[: query.limit]],
            # Names sort by iteration; the newest one is the likely cause of an outdated policy.
            broken=dict(sorted(broken.items(), reverse=True)[: query.limit]),
        )
        return answer_if_changed(
            request,
            body.model_dump_json().encode(),
            headers=policy_headers(loaded) if loaded else {},
            media_type="application/json",
        )

    @router.head("/health/live", include_in_schema=False)
    @router.get("/health/live", responses=problems(), summary="Alive?")
    async def live() -> Health:
        """The process responds."""
        return Health(status="alive")

    @router.head("/health/ready", include_in_schema=False)
    @router.get("/health/ready", responses=problems(503), summary="Ready?")
    async def ready(response: Response) -> Health:
        """A policy is loaded; 503 until then."""
        loaded = service.policies.served()
        response.headers.update(policy_headers(loaded))
        return Health(status="ready", policy=loaded.policy.version, source=loaded.source)

    return router
