"""The Open Inference Protocol, version 2: requests to observations, and actions to responses.

The protocol is that of KServe and Triton, with its extension for binary tensors: a JSON document
whose length is in a header, followed by the bytes of the tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Final

import numpy as np
import pydantic
import pydantic_core
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from app.api.observations import check_shape, from_lists, prepare
from app.parameters import Seed
from app.problems import ProblemError, invalid
from training.environment.observation import Pipeline

MODEL: Final = "carracing"
"""The only model's name; its versions are the policies'."""
INPUT: Final = "observations"
OUTPUT: Final = "actions"
HEADER_LENGTH: Final = "Inference-Header-Content-Length"
"""Header with the length of the JSON document before binary tensors, in bytes."""

_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "UINT8": np.dtype(np.uint8),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}


class _Parameters(BaseModel):
    """Parameters of a request or a tensor; those of other servers are ignored."""

    binary_data: bool = False
    binary_data_output: bool = False
    binary_data_size: Annotated[int, Field(ge=0)] | None = None
    seed: Seed | None = None


class _Input(BaseModel):
    name: str
    shape: Annotated[list[Annotated[int, Field(ge=0, le=2**31)]], Field(max_length=8)]
    datatype: str
    parameters: _Parameters = _Parameters()
    data: list[Any] | None = None


class _Output(BaseModel):
    name: str
    parameters: _Parameters = _Parameters()


class InferRequest(BaseModel):
    """The JSON document of a request."""

    id: Annotated[str, Field(max_length=256)] | None = None
    inputs: Annotated[list[_Input], Field(min_length=1, max_length=1)]
    """One tensor, `observations`."""
    outputs: Annotated[list[_Output], Field(max_length=1)] = []
    parameters: _Parameters = _Parameters()
    """`seed` samples the actions."""

    @property
    def wants_binary(self) -> bool:
        """Whether the actions are returned as bytes."""
        asked = self.outputs[0].parameters if self.outputs else None
        return self.parameters.binary_data_output or (asked is not None and asked.binary_data)


def split(content: bytes, header_length: str | None) -> tuple[bytes, bytes]:
    """Split a body into its JSON document and the bytes of its tensors.

    Raises:
        ProblemError: 400: the header is not a length within the body.
    """
    if header_length is None:
        return content, b""
    if not (header_length.isdecimal() and len(header_length) < 10) or (
        (length := int(header_length)) > len(content)
    ):
        raise ProblemError(
            400,
            "bad-body",
            f"{HEADER_LENGTH} is {header_length[:20]!r}; it must be the length of the JSON "
            f"document, at most that of the body, {len(content)}",
            field=f"header.{HEADER_LENGTH.lower()}",
        )
    return content[:length], content[length:]


def read_request(document: bytes) -> InferRequest:
    """Read the JSON document of a request.

    Raises:
        ProblemError: 400: it is not JSON. 422: it is not a request.
    """
    try:
        parsed = pydantic_core.from_json(document, allow_inf_nan=False)
    except ValueError as error:
        raise ProblemError(400, "bad-body", f"the body is not JSON: {error}", field="body") from (
            error
        )
    try:
        request = InferRequest.model_validate(parsed)
    except pydantic.ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field = ".".join(map(str, fault["loc"])) or "body"
        raise invalid(field, f"{field}: {fault['msg']}") from error
    for field, names, name in (
        ("inputs.0.name", [each.name for each in request.inputs], INPUT),
        ("outputs.0.name", [each.name for each in request.outputs], OUTPUT),
    ):
        if any(given != name for given in names):
            raise invalid(field, f"the name is {names[0][:100]!r}; it must be {name!r}")
    return request


def observations_of(
    request: InferRequest, binary: bytes, pipeline: Pipeline, max_batch: int
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Return the observations of a request.

    Args:
        request: The JSON document.
        binary: The bytes behind it.
        pipeline: The policy's pipeline.
        max_batch: Largest batch.

    Returns:
        (N, size, size, stack) uint8, or float32 in [0, 1].

    Raises:
        ProblemError: 422: shape, datatype, range or number of bytes is not accepted.
    """
    tensor = request.inputs[0]
    dtype = _DTYPES.get(tensor.datatype)
    if dtype is None:
        raise invalid(
            "inputs.0.datatype",
            f"the datatype is {tensor.datatype[:20]!r}; it must be one of {', '.join(_DTYPES)}",
        )
    size = tensor.parameters.binary_data_size
    if (size is None) == (tensor.data is None):
        raise invalid("inputs.0.data", "give either data or the parameter binary_data_size")
    shape = tuple(tensor.shape)
    if size is None:
        array = from_lists(_nested(tensor.data or [], shape), pipeline, max_batch)
        if array.shape != shape:
            raise invalid("inputs.0.shape", f"it is {shape}, and the data's is {array.shape}")
        floats = dtype.kind == "f"
        return prepare(array, "float32" if floats else "uint8", pipeline)
    check_shape(shape, pipeline, max_batch)
    expected = math.prod(shape) * dtype.itemsize
    if not size == expected == len(binary):
        raise invalid(
            "inputs.0.parameters.binary_data_size",
            f"it is {size}; shape and datatype take {expected} bytes, and {len(binary)} follow the "
            "JSON document",
        )
    return prepare(np.frombuffer(binary, dtype).reshape(shape), None, pipeline)


def _nested(data: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """The protocol also allows the numbers in one list: as nested lists of the shape."""
    if data and isinstance(data[0], list):
        return data
    if len(data) != math.prod(shape):
        raise invalid(
            "inputs.0.data", f"it has {len(data)} numbers; the shape takes {math.prod(shape)}"
        )
    for length in reversed(shape[1:]):
        data = [data[start : start + length] for start in range(0, len(data), length)]
    return data


def response_body(
    request: InferRequest, actions: NDArray[np.float32], version: str
) -> tuple[bytes, Mapping[str, str], str]:
    """Return the body, headers and media type of a response.

    Args:
        request: What is answered.
        actions: (N, 3) float32.
        version: Of the policy that decided.
    """
    output: dict[str, Any] = {"name": OUTPUT, "datatype": "FP32", "shape": list(actions.shape)}
    document: dict[str, Any] = {"model_name": MODEL, "model_version": version, "outputs": [output]}
    if request.id is not None:
        document["id"] = request.id
    if not request.wants_binary:
        output["data"] = actions.ravel().tolist()
        return pydantic_core.to_json(document), {}, "application/json"
    binary = actions.astype("<f4").tobytes()
    output["parameters"] = {"binary_data_size": len(binary)}
    header = pydantic_core.to_json(document)
    return header + binary, {HEADER_LENGTH: str(len(header))}, "application/octet-stream"
