"""Decode the body of a query, JSON, npy or pictures, to an array. Nothing is unpickled."""

from __future__ import annotations

import io
import math
import tokenize
from codecs import BOM_UTF8
from itertools import chain
from threading import Lock
from typing import Any, Final, Literal

import numpy as np
import pydantic
import pydantic_core
from numpy.lib import format as npy_format
from numpy.typing import NDArray
from starlette.requests import Request

from app.api.pictures import frames_from_pictures, from_base64
from app.api.schemas import ActBody
from app.problems import ProblemError, invalid
from training.environment.observation import FRAME_SHAPE, Pipeline
from training.environment.pipeline import shrink, to_grey

JSON: Final = "application/json"
NPY: Final = "application/x-npy"
FORM: Final = "multipart/form-data"

FIELD = "observations"

_MAX_NPY_HEADER: Final = 1024
_NPY_HEADERS: Final = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}
_NPY_ERRORS: Final = (
    *(KeyError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError),
    tokenize.TokenError,
)
_NPY_PARSER: Final = Lock()
"""CPython 3.11 counts its parser's depth for all threads together, so parallel parsing may fail."""

MediaType = Literal["application/json", "application/x-npy", "multipart/form-data"]


def media_type(request: Request) -> MediaType:
    """Return the media type of a request's body.

    Raises:
        ProblemError: 415: it is neither JSON nor npy nor a form, or it is compressed.
    """
    refuse_compression(request)
    given = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if given == JSON:
        return JSON
    if given == NPY:
        return NPY
    if given == FORM:
        return FORM
    raise ProblemError(
        415,
        "bad-media-type",
        f"Content-Type is {given or 'missing'}; send {JSON}, {NPY} or {FORM}",
        field="header.content-type",
        headers={"Accept-Post": f"{JSON}, {NPY}, {FORM}"},
    )


def refuse_compression(request: Request) -> None:
    """Raise ProblemError, 415, if the body is compressed."""
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise ProblemError(
            415,
            "bad-media-type",
            f"Content-Encoding is {encoding}; send the body without compression",
            field="header.content-encoding",
            headers={"Accept-Encoding": "identity"},
        )


def decode(
    content: bytes | list[bytes], media: MediaType, pipeline: Pipeline, max_batch: int
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Return the observations in a body.

    Integers of any width are pixels from 0 to 255, floats of any width are pixels from 0 to 1.

    Args:
        content: The body, or the files of a form.
        media: Its media type.
        pipeline: The policy's pipeline: sizes, and how raw frames become observations.
        max_batch: Largest batch.

    Returns:
        (N, size, size, stack) uint8, or float32 in [0, 1].

    Raises:
        ProblemError: 400: the body cannot be decoded. 422: its shape, dtype or range is not
            accepted.
    """
    if isinstance(content, list):
        return prepare(frames_from_pictures(content, pipeline, max_batch), None, pipeline)
    if media == NPY:
        return prepare(_from_npy(content, pipeline, max_batch), None, pipeline)
    body = _json_body(content)
    if body.frames is not None:
        files = [from_base64(text) for text in body.frames]
        return prepare(frames_from_pictures(files, pipeline, max_batch), None, pipeline)
    return prepare(from_lists(body.observations or [], pipeline, max_batch), body.dtype, pipeline)


def prepare(
    array: NDArray[Any], dtype: Literal["uint8", "float32"] | None, pipeline: Pipeline
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Convert numbers whose shape has been checked to observations.

    Args:
        array: Observations or raw frames, see :func:`check_shape`.
        dtype: Type of the numbers. Default: uint8 if they are integers, else float32.
        pipeline: The policy's pipeline.

    Returns:
        (N, size, size, stack) uint8, or float32 in [0, 1].

    Raises:
        ProblemError: 422: the range is not accepted.
    """
    pixels = _to_pixels(array, dtype)
    observation = pipeline.observation_shape
    if pixels.shape[-3:] == observation and pixels.ndim <= 4:
        return pixels.reshape(-1, *observation)
    if pixels.dtype != np.uint8:
        raise invalid(FIELD, "raw frames must be integers from 0 to 255")
    return _from_frames(pixels.reshape(-1, *FRAME_SHAPE), pipeline)


def _from_frames(frames: NDArray[Any], pipeline: Pipeline) -> NDArray[np.uint8]:
    """Prepare frames: (N × stack, 96, 96, 3) uint8 → (N, size, size, stack) uint8."""
    pictures = np.stack([shrink(to_grey(frame), pipeline.size) for frame in frames])
    stacks = pictures.reshape(-1, pipeline.stack, pipeline.size, pipeline.size)
    return np.ascontiguousarray(stacks.transpose(0, 2, 3, 1))


def check_shape(shape: tuple[int, ...], pipeline: Pipeline, max_batch: int) -> None:
    """Raise ProblemError, 422, for a shape that is not accepted.

    If observations and frames look the same, they are observations.
    """
    observation = pipeline.observation_shape
    frames = (pipeline.stack, *FRAME_SHAPE)
    for one in (observation, frames):
        if shape == one:
            return
        if shape[1:] == one:
            if 1 <= shape[0] <= max_batch:
                return
            raise invalid(FIELD, f"a batch of {shape[0]}; it must hold from 1 to {max_batch}")
    batches = [f"(N, {', '.join(map(str, one))})" for one in (observation, frames)]
    raise invalid(
        FIELD,
        f"the shape is {shape}; it must be {observation} or {batches[0]} for observations, "
        f"{frames} or {batches[1]} for the last raw frames, oldest first",
    )


def _to_pixels(
    array: NDArray[Any], dtype: Literal["uint8", "float32"] | None
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Check the range and convert to uint8 or float32."""
    integers = array.dtype.kind in "ui"
    if not integers and dtype == "uint8":
        raise invalid(FIELD, "dtype is uint8, but a number has a fraction")
    if integers and dtype != "float32":
        if array.min() < 0 or array.max() > 255:
            raise invalid(FIELD, "an integer is outside 0 to 255")
        return array.astype(np.uint8, copy=False)
    # Also false for NaN and infinity.
    if not (array.min() >= 0 and array.max() <= 1):
        raise invalid(FIELD, "a number is outside 0 to 1, or not finite")
    return array.astype(np.float32, copy=False)


def _json_body(content: bytes) -> ActBody:
    # .NET and PowerShell write a byte order mark. RFC 8259 allows parsers to ignore it.
    text = content[len(BOM_UTF8) :] if content.startswith(BOM_UTF8) else content
    try:
        document = pydantic_core.from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise ProblemError(
            400, "bad-body", f"the body is not JSON: {error}", field="body"
        ) from error
    try:
        return ActBody.model_validate(document)
    except pydantic.ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise invalid(".".join(map(str, fault["loc"])) or "body", fault["msg"]) from error


def from_lists(lists: list[Any], pipeline: Pipeline, max_batch: int) -> NDArray[Any]:
    """Convert nested lists to an array after checking that they hold numbers only.

    ``np.array(lists)`` would allocate the size of the largest element for every element.
    """
    shape: list[int] = []
    level: Any = lists
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    check_shape(tuple(shape), pipeline, max_batch)
    flat = lists
    for length in shape[1:]:
        if set(map(type, flat)) != {list} or set(map(len, flat)) != {length}:
            raise invalid(FIELD, "the lists are not of equal lengths at every level")
        flat = list(chain.from_iterable(flat))
    # Compare types: a bool is an int, too.
    types = set(map(type, flat))
    if not types <= {int, float}:
        raise invalid(FIELD, "the lists hold something other than numbers")
    dtype = np.float64 if float in types else np.int64
    try:
        return np.fromiter(flat, dtype, len(flat)).reshape(shape)
    except OverflowError as error:
        raise invalid(FIELD, "an integer is outside 0 to 255") from error


def _from_npy(content: bytes, pipeline: Pipeline, max_batch: int) -> NDArray[Any]:
    """Return the array of an npy file as a view of the body."""
    dtype, fortran_order, shape, start = _npy_header(content)
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise invalid(
            FIELD, f"the dtype is {dtype}; it must be integers or floats of up to 8 bytes"
        )
    # Compare types: NumPy's reader lets a bool pass, which cannot be reshaped by.
    if not set(map(type, shape)) <= {int}:
        raise invalid(FIELD, f"the shape is {shape}; it must be integers")
    check_shape(shape, pipeline, max_batch)
    expected = math.prod(shape) * dtype.itemsize
    if len(content) - start != expected:
        raise ProblemError(
            400,
            "bad-body",
            f"the npy header announces {expected} bytes of data; the body has "
            f"{len(content) - start}",
            field="body",
        )
    flat = np.frombuffer(content, dtype, offset=start)
    return flat.reshape(shape, order="F" if fortran_order else "C")


def _npy_header(content: bytes) -> tuple[np.dtype[Any], bool, tuple[int, ...], int]:
    """Return (dtype, Fortran order, shape, offset of the data) of an npy file."""
    file = io.BytesIO(content[: 2 * _MAX_NPY_HEADER])
    try:
        version = npy_format.read_magic(file)
        read = _NPY_HEADERS[version]
        with _NPY_PARSER:
            shape, fortran_order, dtype = read(file, max_header_size=_MAX_NPY_HEADER)
    except _NPY_ERRORS as error:
        raise ProblemError(
            400, "bad-body", "the body is not an npy file of version 1.0 or 2.0", field="body"
        ) from error
    return dtype, fortran_order, shape, file.tell()
