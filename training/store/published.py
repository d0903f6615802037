"""One policy as it was published, verified against its manifest.

A policy without a manifest is not there, and one whose bytes differ from its manifest is broken.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import pydantic

from training.policy.manifest import (
    MANIFEST_FILE,
    WEIGHTS_FILE,
    FileDigest,
    FileDigests,
    Manifest,
    SealError,
)
from training.policy.published import BrokenPolicyError, PublishedPolicy
from training.store.layout import PolicyRef
from training.store.storage import Storage

BUNDLED_FOLDER: Final = Path(__file__).parents[2] / "app" / "bundled"
"""The policy that comes with the project."""


def missing_manifest(ref: PolicyRef) -> str:
    """Why a policy is not used that ``latest.json`` names and that is not there."""
    return f"{ref.version}: it has no {MANIFEST_FILE}"


def describe_files(weights: bytes) -> FileDigests:
    """The ``files`` entry of a manifest for these weights."""
    return {WEIGHTS_FILE: FileDigest(sha256=hashlib.sha256(weights).hexdigest(), size=len(weights))}


def verify(
    manifest_json: bytes, weights: bytes, *, ref: PolicyRef | None = None
) -> PublishedPolicy:
    """Check a policy's files against its manifest.

    Args:
        manifest_json: Contents of ``manifest.json``.
        weights: Contents of ``policy.safetensors``.
        ref: What the names of the policy's folders promise, if anything.

    Raises:
        BrokenPolicyError: They do not fit together.
    """
    manifest = parse_manifest(manifest_json, ref=ref)
    expected = manifest.files[WEIGHTS_FILE]
    if len(weights) != expected.size:
        raise BrokenPolicyError(
            f"{manifest.version}: {WEIGHTS_FILE} has {len(weights)} bytes, "
            f"its manifest says {expected.size}"
        )
    if (found := hashlib.sha256(weights).hexdigest()) != expected.sha256:
        raise BrokenPolicyError(
            f"{manifest.version}: {WEIGHTS_FILE} has sha256 {found}, "
            f"its manifest says {expected.sha256}"
        )
    return PublishedPolicy(manifest, weights)


def read_policy(storage: Storage, ref: PolicyRef | None = None) -> PublishedPolicy:
    """Read and verify a policy of a storage root, or the one that lies in the root itself.

    Raises:
        FileNotFoundError: There is no policy, or it was deleted while it was read.
        BrokenPolicyError: It is there, but not whole.
        OSError: Storage is away.
    """
    prefix = f"{ref.folder}/" if ref else ""
    manifest_json = storage.read(f"{prefix}{MANIFEST_FILE}")
    try:
        weights = storage.read(f"{prefix}{WEIGHTS_FILE}")
    except FileNotFoundError as error:
        # Its manifest is what is deleted first.
        storage.read(f"{prefix}{MANIFEST_FILE}")
        label = ref.version if ref else storage.root
        raise BrokenPolicyError(f"{label}: {WEIGHTS_FILE} is missing") from error
    return verify(manifest_json, weights, ref=ref)


def parse_manifest(content: bytes, *, ref: PolicyRef | None = None) -> Manifest:
    """Read a ``manifest.json``; raises BrokenPolicyError with every fault that it has."""
    label = ref.version if ref else "manifest"
    try:
        manifest = Manifest.from_file(content)
    except pydantic.ValidationError as error:
        raise BrokenPolicyError(
            f"{label}: {MANIFEST_FILE} is not valid: {faults(error)}"
        ) from error
    except SealError as error:
        raise BrokenPolicyError(f"{label}: {MANIFEST_FILE} is not valid: {error}") from error
    if ref is not None and (manifest.run, manifest.version) != (ref.run, ref.version):
        raise BrokenPolicyError(
            f"{ref.version}: its manifest belongs to {manifest.version} of run {manifest.run}, "
            f"and its folder to run {ref.run}"
        )
    return manifest


def faults(error: pydantic.ValidationError) -> str:
    """Every fault that pydantic has found in a document, in one line."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'document'}: {fault['msg']}"
        for fault in error.errors(include_url=False)
    )
