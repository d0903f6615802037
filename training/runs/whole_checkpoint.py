"""Whether a checkpoint is whole: it carries a list of its files, their sizes and digests.

RLlib's checkpoints are many files, copied to storage in no certain order and without a mark at the
end. What is unpickled of one is only what its list vouches for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from pyarrow import fs
from pydantic import Field

LIST_FILE = "files.json"

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BrokenCheckpointError(Exception):
    """A checkpoint that must not be restored; the message says why."""


class CutShortError(BrokenCheckpointError):
    """A checkpoint without a list: it was never whole where it lies."""


class ListedFile(pydantic.BaseModel, frozen=True, extra="forbid"):
    """One file of a checkpoint, as it must be found."""

    size: Annotated[int, Field(ge=0)]
    """In bytes."""
    sha256: _Digest


class CheckpointList(pydantic.BaseModel, frozen=True, extra="forbid"):
    """What a checkpoint holds."""

    format_version: Literal[1] = 1
    iteration: Annotated[int, Field(ge=0)]
    """Iterations that were trained before it."""
    result: dict[str, float | int | str | bool | None]
    """The last of these iterations' result, its plain values."""
    files: dict[str, ListedFile]
    """By path below the checkpoint's folder; all but the list itself."""


def seal(folder: Path, iteration: int, result: Mapping[str, Any]) -> None:
    """Write a checkpoint's list, as the last of its files."""
    plain = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in result.items()
        if value is None or isinstance(value, float | int | str | bool | np.generic)
    }
    files = {
        path.relative_to(folder).as_posix(): _listed(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / LIST_FILE
    }
    body = CheckpointList(iteration=iteration, result=plain, files=files).model_dump()
    (folder / LIST_FILE).write_text(json.dumps({"list": body, "sha256": _digest_of(body)}))


def read_list(filesystem: fs.FileSystem, folder: str) -> CheckpointList:
    """Read a checkpoint's list, and nothing else of it.

    Raises:
        CutShortError: There is none.
        BrokenCheckpointError: It is damaged.
        OSError: Storage is away.
    """
    try:
        document = json.loads(_read(filesystem, f"{folder}/{LIST_FILE}"))
        listed = CheckpointList.model_validate(document["list"])
        if document["sha256"] != _digest_of(listed.model_dump()):
            raise ValueError("its digest differs")  # noqa: TRY301
    except FileNotFoundError as error:
        raise CutShortError(f"it has no {LIST_FILE}, so it was cut short") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenCheckpointError(f"its {LIST_FILE} is damaged") from error
    return listed


def verify(filesystem: fs.FileSystem, folder: str) -> CheckpointList:
    """Compare every file of a checkpoint with its list. Others that lie there are of no concern.

    Raises:
        BrokenCheckpointError: One is missing or differs, or there is no list.
        OSError: Storage is away.
    """
    listed = read_list(filesystem, folder)
    for name, expected in listed.files.items():
        try:
            found = _listed(_read(filesystem, f"{folder}/{name}"))
        except FileNotFoundError as error:
            raise BrokenCheckpointError(f"its {name} is missing") from error
        if found.size != expected.size:
            raise BrokenCheckpointError(
                f"its {name} has {found.size} bytes, its list says {expected.size}"
            )
        if found != expected:
            raise BrokenCheckpointError(f"its {name} has other contents than its list says")
    return listed


def _read(filesystem: fs.FileSystem, path: str) -> bytes:
    with filesystem.open_input_stream(path, compression=None) as stream:
        content: bytes = stream.read()
    return content


def _listed(content: bytes) -> ListedFile:
    return ListedFile(size=len(content), sha256=hashlib.sha256(content).hexdigest())


def _digest_of(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
