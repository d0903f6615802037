"""``/v2``: the Open Inference Protocol, which clients of KServe and Triton speak."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Depends, Path, Request, Response
from numpy.typing import NDArray

from app.api.inference import (
    HEADER_LENGTH,
    INPUT,
    MODEL,
    OUTPUT,
    InferRequest,
    observations_of,
    read_request,
    response_body,
    split,
)
from app.api.observations import refuse_compression
from app.api.service import Service, policy_headers
from app.errors import PolicyNotFoundError
from app.policies.loading import LoadedPolicy
from app.policies.names import SERVED, PolicyName
from app.problems import inference_errors

_SERVER: Final = "carracing-ppo"
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_JSON: dict[str, Any] = {"schema": {"type": "object"}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": (
            f"One tensor, `{INPUT}`: UINT8, or FP16, FP32 or FP64 from 0 to 1, in the shapes of "
            f"`POST /act`, as JSON or, with the header `{HEADER_LENGTH}`, as bytes behind the JSON "
            "document. The parameter `seed` samples the actions."
        ),
        "content": {"application/json": _JSON, "application/octet-stream": _BINARY},
    }
}
_ACTIONS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": _JSON, "application/octet-stream": _BINARY}}
}

Model = Annotated[str, Path(description=f"`{MODEL}`")]
Version = Annotated[PolicyName, Path(description="A policy: a version, or a name as in `/act`.")]


def inference_routes(service: Service) -> APIRouter:
    """Return the routes of the protocol."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    async def find(model: str, name: str) -> LoadedPolicy:
        if model != MODEL:
            raise PolicyNotFoundError(f"there is no model {model[:100]!r}; there is {MODEL!r}")
        return await service.policies.find(name)

    async def served(model: Model) -> LoadedPolicy:
        return await find(model, SERVED)

    async def named(model: Model, version: Version) -> LoadedPolicy:
        return await find(model, version)

    @router.get("", responses=inference_errors(), summary="Server metadata")
    async def server() -> dict[str, Any]:
        """Name, version and extensions."""
        return {"name": _SERVER, "version": _version(), "extensions": ["binary_tensor_data"]}

    @router.get("/health/live", responses=inference_errors(), summary="Alive?")
    async def live() -> dict[str, bool]:
        """The process responds."""
        return {"live": True}

    @router.get("/health/ready", responses=inference_errors(503), summary="Ready?")
    async def ready() -> dict[str, bool]:
        """A policy is loaded; 503 until then."""
        service.policies.served()
        return {"ready": True}

    _add_model_routes(router, service, "/models/{model}", served)
    _add_model_routes(router, service, "/models/{model}/versions/{version}", named)
    return router


def _add_model_routes(
    router: APIRouter, service: Service, path: str, find: Callable[..., Awaitable[LoadedPolicy]]
) -> None:
    """Add the routes of the policy that ``find``, a dependency, finds by the path."""

    @router.get(path, responses=inference_errors(404, 422, 503), summary="Model metadata")
    async def metadata(loaded: LoadedPolicy = Depends(find)) -> dict[str, Any]:
        """Tensors and version of a policy."""
        policy = loaded.policy
        return {
            "name": MODEL,
            "versions": [policy.version],
            "platform": "pytorch",
            "inputs": [
                {"name": INPUT, "datatype": "UINT8", "shape": [-1, *policy.observation_shape]}
            ],
            "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, 3]}],
        }

    @router.get(
        f"{path}/ready",
        dependencies=[Depends(find)],
        responses=inference_errors(404, 422, 503),
        summary="Ready?",
    )
    async def model_ready() -> dict[str, Any]:
        """The policy can be loaded."""
        return {"name": MODEL, "ready": True}

    @router.post(
        f"{path}/infer",
        response_class=Response,
        responses=_ACTIONS | inference_errors(400, 404, 408, 413, 415, 422, 503),
        openapi_extra=_BODY,
        summary="Infer",
    )
    async def infer(request: Request, loaded: LoadedPolicy = Depends(find)) -> Response:
        """Actions for observations."""
        refuse_compression(request)
        # app.middleware.admission has read it whole, within the limits.
        content = await request.body()
        document, binary = split(content, request.headers.get(HEADER_LENGTH))
        policy = loaded.policy

        def decide() -> tuple[InferRequest, NDArray[np.float32]]:
            asked = read_request(document)
            max_batch = service.settings.max_batch
            observations = observations_of(asked, binary, policy.manifest.pipeline, max_batch)
            return asked, policy.act(observations, seed=asked.parameters.seed)

        asked, actions = await service.compute(decide, reads_json=not binary)
        service.meters.acted(len(actions))
        body, headers, media_type = response_body(asked, actions, policy.version)
        shown = {**headers, **policy_headers(loaded), "Cache-Control": "no-store"}
        return Response(body, headers=shown, media_type=media_type)


def _version() -> str:
    try:
        return version(_SERVER)
    except PackageNotFoundError:  # run from a checkout
        return "0"
