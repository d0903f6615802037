"""The files of a storage root that name one policy: ``latest.json`` and ``best.json``."""

from __future__ import annotations

from typing import Final, Literal

import pydantic

from training.policy.published import BrokenPolicyError
from training.store.layout import BEST_FILE, LATEST_FILE, PolicyRef
from training.store.published import faults
from training.store.storage import Storage

Follow = Literal["latest", "best"]
"""Which policy to use: the one that was promoted last, or the one with the highest validation
score."""

POINTER_FILES: dict[Follow, str] = {"latest": LATEST_FILE, "best": BEST_FILE}

_SIZE: Final = 512
"""Bytes of each pointer, padded with spaces. Several trainers write the same one, and a reader of
S3 asks for the size before it reads that many bytes (see :meth:`Storage.read`)."""


def read_pointer(storage: Storage, name: Follow) -> PolicyRef | None:
    """The policy that a pointer names: one small read. None where there is no such file.

    Raises:
        BrokenPolicyError: It names none.
        OSError: Storage is away.
    """
    file = POINTER_FILES[name]
    try:
        return PolicyRef.model_validate_json(storage.read(file))
    except FileNotFoundError:
        return None
    except pydantic.ValidationError as error:
        raise BrokenPolicyError(f"{file} is not valid: {faults(error)}") from error


def read_pointers(
    storage: Storage, follow: Follow, named: dict[Follow, PolicyRef | None]
) -> tuple[PolicyRef | None, str | None]:
    """Read both pointers, for a service that follows one of them.

    Args:
        storage: Where they are.
        follow: The one that is followed. While none has a score, the latest is the best.
        named: Gets what each pointer names; what was there stays for one that names none.

    Returns:
        Which policy to follow, and why that cannot be told.

    Raises:
        OSError: Storage is away.
    """
    faults: dict[Follow, str] = {}
    for name in POINTER_FILES:
        try:
            named[name] = read_pointer(storage, name)
        except BrokenPolicyError as error:
            faults[name] = str(error)
        except OSError:
            if name == follow or not answers(storage):
                raise
    order: tuple[Follow, ...] = ("latest",) if follow == "latest" else ("best", "latest")
    for name in order:
        if name in faults:
            return None, faults[name]
        if (ref := named.get(name)) is not None:
            return ref, None
    return None, None


def write_pointer(storage: Storage, name: Follow, ref: PolicyRef) -> None:
    """Let a pointer name this policy; raises OSError when storage is away."""
    storage.write(POINTER_FILES[name], ref.model_dump_json(indent=2).encode().ljust(_SIZE))


def answers(storage: Storage) -> bool:
    """Whether storage can be read: tells one object at fault from storage that is away."""
    try:
        storage.read(LATEST_FILE)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
