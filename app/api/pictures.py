"""Decode pictures in the body of a query: PNG or JPEG, base64 in JSON or files of a form."""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from app.problems import ProblemError, invalid
from training.environment.observation import FRAME_SHAPE, Pipeline, Pixels

FIELD = "frames"

_FORMATS: Final = ("PNG", "JPEG")
_MODES: Final = ("RGB", "RGBA", "L", "P")
"""8-bit pixels; Pillow would clip those of 16 bits."""
_DATA_URL: Final = re.compile(r"data:image/(png|jpeg);base64,")
_PILLOW_ERRORS: Final = (
    *(OSError, SyntaxError, ValueError),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)


async def read_form(request: Request) -> list[bytes]:
    """Return the files named ``frames`` of a form, in their order.

    Raises:
        ProblemError: 400: the form cannot be read. 422: it has another field, or no file.
    """
    try:
        async with request.form() as form:
            for name, value in form.multi_items():
                if name != FIELD or not isinstance(value, UploadFile):
                    raise invalid(
                        name, f"the form has {name}; it must have only files, all named {FIELD}"
                    )
            files = [await part.read() for part in form.getlist(FIELD)]  # type: ignore[union-attr]
    except HTTPException as error:
        raise ProblemError(
            400, "bad-body", f"the form cannot be read: {error.detail}", field="body"
        ) from error
    if not files:
        raise invalid(FIELD, f"the form has no file; send the last frames as files named {FIELD}")
    return files


def from_base64(text: str) -> bytes:
    """Return the file in base64 or a data URL; raises ProblemError, 422, if it is neither."""
    try:
        return base64.b64decode(_DATA_URL.sub("", text, count=1), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(FIELD, f"a frame is not base64: {error}") from error


def frames_from_pictures(files: Sequence[bytes], pipeline: Pipeline, max_batch: int) -> Pixels:
    """Decode frames.

    Args:
        files: PNG or JPEG, 96 × 96 pixels; the last ``stack`` frames of one observation, oldest
            first, or those of several observations one after the other.
        pipeline: The policy's pipeline.
        max_batch: Largest number of observations.

    Returns:
        (N, stack, 96, 96, 3) uint8.

    Raises:
        ProblemError: 422: the number of pictures, or one of them, is not accepted.
    """
    stack = pipeline.stack
    if len(files) % stack or not stack <= len(files) <= stack * max_batch:
        raise invalid(
            FIELD,
            f"there are {len(files)} frames; it must be the last {stack} of an observation, or "
            f"{stack} for each of up to {max_batch}",
        )
    frames = np.stack([_frame(file, number) for number, file in enumerate(files, 1)])
    return frames.reshape(-1, stack, *FRAME_SHAPE)


def _frame(file: bytes, number: int) -> Pixels:
    """One frame, (96, 96, 3) uint8. Its size is checked before its pixels are decoded."""
    height, width, _ = FRAME_SHAPE
    try:
        with Image.open(io.BytesIO(file), formats=_FORMATS) as picture:
            if picture.size != (width, height):
                raise invalid(
                    FIELD,
                    f"frame {number} has {picture.width} × {picture.height} pixels; it must have "
                    f"{width} × {height}, as CarRacing-v3 returns them",
                )
            if picture.mode not in _MODES:
                raise invalid(
                    FIELD, f"frame {number} has mode {picture.mode}; it must have 8-bit pixels"
                )
            return np.asarray(picture.convert("RGB"))
    except _PILLOW_ERRORS as error:
        raise invalid(FIELD, f"frame {number} is not a PNG or JPEG: {error}") from error
