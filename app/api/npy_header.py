"""The header of an npy file, read without unpickling or evaluating anything."""

from __future__ import annotations

import ast
from threading import Lock
from typing import Any

from app.problems import ProblemError

Body = bytes | bytearray

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 1024
_PARSING = Lock()
"""CPython 3.11 counts its parser's depth for all threads together, and now and then fails one."""


def npy_header(content: Body) -> tuple[Any, bool, tuple[int, ...], int]:
    """(descr, Fortran order, shape, where the numbers start) of an npy file.

    Raises:
        ProblemError: 400, the body does not begin as an npy file does.
    """

    def unreadable(why: str) -> ProblemError:
        return ProblemError(400, "bad-body", f"the body is not an npy file: {why}", field="body")

    if not content.startswith(_MAGIC):
        raise unreadable("its first bytes are not those of one")
    # Version 3 differs only in the names of structured types, which are of no use here.
    width = {b"\x01\x00": 2, b"\x02\x00": 4}.get(bytes(content[6:8]))
    if width is None:
        raise unreadable("its version is neither 1.0 nor 2.0")
    start = 8 + width
    length = int.from_bytes(content[8:start], "little")
    if length > _MAX_HEADER or len(content) < start + length:
        raise unreadable("its header is cut off or too long")
    try:
        text = content[start : start + length].decode("latin-1").strip()
        with _PARSING:
            header = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise unreadable("its header is not a literal") from error
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise unreadable("its header does not hold descr, fortran_order and shape")
    shape, fortran_order = header["shape"], header["fortran_order"]
    if not isinstance(shape, tuple) or any(type(n) is not int or n < 0 for n in shape):
        raise unreadable("its shape is not a tuple of sizes")
    if not isinstance(fortran_order, bool):
        raise unreadable("its fortran_order is neither True nor False")
    return header["descr"], fortran_order, shape, start + length
