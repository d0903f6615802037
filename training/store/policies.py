"""The policies of a storage root: publish, list, find the newest and the best."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import pydantic

from training.policy.manifest import MANIFEST_FILE, WEIGHTS_FILE, Manifest
from training.policy.published import BrokenPolicyError, PublishedPolicy
from training.store.layout import RUNS, PolicyRef, run_folder
from training.store.pointers import Follow, answers, read_pointer, write_pointer
from training.store.published import missing_manifest, parse_manifest, read_policy, verify
from training.store.storage import Storage
from training.store.validation_scores import Validation, best_first, read_validations

logger = logging.getLogger(__name__)

_LOOKS = 3
"""For the newest policy, where those that were listed were deleted before they were read."""
_READS = 2
"""Of a policy that alone cannot be read."""


class NoPolicyError(Exception):
    """The storage root holds no usable policy; the message says what was found instead."""


@dataclass(frozen=True)
class Listing:
    """What a storage root holds."""

    policies: list[Manifest]
    """Newest first, by their manifests alone."""
    broken: dict[PolicyRef, str]
    """Why the manifests of the others are not to be believed, or cannot be read."""
    unfinished: Collection[PolicyRef] = ()
    """Folders without a manifest: being published or deleted, or left over from that."""
    validations: Mapping[PolicyRef, Validation] = field(default_factory=dict)
    """Of the policies that have a validation score."""


class PolicyStore:
    """Published policies below one storage root."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        # As a listing found them: a manifest never changes, and reading each takes a while.
        self._manifests: dict[PolicyRef, Manifest] = {}

    @classmethod
    def open(cls, root: str) -> PolicyStore:
        """The store at a root; raises StorageError where the address is not usable."""
        return cls(Storage.open(root))

    def publish(self, manifest: Manifest, weights: bytes, *, promote: bool = True) -> PolicyRef:
        """Make a policy visible to every reader.

        Args:
            manifest: Describes the policy.
            weights: Contents of ``policy.safetensors``.
            promote: Whether it becomes the latest.

        Raises:
            BrokenPolicyError: The manifest does not describe these weights.
            OSError: Storage refused; what was the latest still is.
        """
        manifest_json = manifest.to_file()
        verify(manifest_json, weights)
        ref = PolicyRef(run=manifest.run, version=manifest.version)
        self.storage.write(f"{ref.folder}/{WEIGHTS_FILE}", weights)
        self.storage.write(f"{ref.folder}/{MANIFEST_FILE}", manifest_json)
        if promote:
            self.promote(ref)
        return ref

    def promote(self, ref: PolicyRef) -> None:
        """Make a policy that is already published the latest."""
        write_pointer(self.storage, "latest", ref)

    def delete(self, ref: PolicyRef) -> None:
        """Delete a policy, its manifest first: then it is not there, whatever is left of it.

        Raises:
            OSError: Storage refused; deleting it again does the rest.
        """
        self._manifests.pop(ref, None)
        self.storage.delete_file(f"{ref.folder}/{MANIFEST_FILE}")
        self.storage.delete_folder(ref.folder)

    def latest_ref(self) -> PolicyRef | None:
        """The policy that ``latest.json`` names: one small read. None where there is no such file.

        Raises:
            BrokenPolicyError: It names none.
            OSError: Storage is away.
        """
        return read_pointer(self.storage, "latest")

    def best_ref(self) -> PolicyRef | None:
        """The policy that ``best.json`` names; returns and raises as :meth:`latest_ref`."""
        return read_pointer(self.storage, "best")

    def followed_ref(self, follow: Follow) -> PolicyRef | None:
        """The policy to use: the latest, also in place of the best while none has a score.

        Returns and raises as :meth:`latest_ref`.
        """
        best = self.best_ref() if follow == "best" else None
        return self.latest_ref() if best is None else best

    def answers(self) -> bool:
        """Whether storage can be read: tells one object at fault from storage that is away."""
        return answers(self.storage)

    def fetch(self, ref: PolicyRef) -> PublishedPolicy:
        """Read and verify one policy; raises what :func:`read_policy` does."""
        return read_policy(self.storage, ref)

    def refs(self, *, run: str | None = None) -> Iterator[PolicyRef]:
        """Every policy folder whose name is a version, whole or not, in no order of age.

        Args:
            run: This run's alone.
        """
        for name in self.storage.folders(RUNS) if run is None else (run,):
            for version in self.storage.folders(f"{run_folder(name)}/policies"):
                try:
                    yield PolicyRef(run=name, version=version)
                except pydantic.ValidationError:
                    logger.warning("%s/%s is not a valid name of a policy, skipped", name, version)

    def listing(self, *, run: str | None = None) -> Listing:
        """Every policy by its manifest, newest first, and those not to be believed.

        Args:
            run: This run's alone.

        Raises:
            OSError: Storage is away. A manifest that alone cannot be read is listed as broken.
        """
        manifests: dict[PolicyRef, Manifest] = {}
        broken: dict[PolicyRef, str] = {}
        unfinished: list[PolicyRef] = []
        for ref in self.refs(run=run):
            if (known := self._manifests.get(ref)) is not None:
                manifests[ref] = known
                continue
            try:
                content = self.storage.read(f"{ref.folder}/{MANIFEST_FILE}")
            except FileNotFoundError:
                unfinished.append(ref)
                continue
            except OSError as error:
                # Asked at once: where storage is away, every further read may take its time limit.
                if not self.answers():
                    raise
                broken[ref] = f"{ref.version}: its manifest cannot be read: {error}"
                continue
            try:
                # Kept at once: after a listing that storage cut short, another goes on.
                self._manifests[ref] = manifests[ref] = parse_manifest(content, ref=ref)
            except BrokenPolicyError as error:
                broken[ref] = str(error)
        self._manifests = manifests
        by_age = sorted(manifests.values(), key=lambda m: m.order, reverse=True)
        validations = {
            ref: validation
            for listed in {ref.run for ref in manifests}
            for version, validation in read_validations(self.storage, listed).items()
            if (ref := PolicyRef(run=listed, version=version)) in manifests
        }
        return Listing(by_age, broken, unfinished, validations)

    def candidates(self, follow: Follow = "latest") -> Iterator[PolicyRef]:
        """Policies to try in turn.

        First :meth:`followed_ref`; then, for ``best``, those with a validation score, the highest
        first; then all others, the newest first.
        """
        first: PolicyRef | None = None
        try:
            first = self.followed_ref(follow)
        except BrokenPolicyError as error:
            logger.warning("policies are listed instead: %s", error)
        if first is not None:
            yield first
        listing = self.listing()
        by_score = best_first(listing.validations) if follow == "best" else []
        by_age = [PolicyRef(run=m.run, version=m.version) for m in listing.policies]
        # The broken ones come last, for the reasons that they give.
        in_turn = dict.fromkeys((*by_score, *by_age, *listing.broken))
        yield from (ref for ref in in_turn if ref != first)

    def newest(self) -> PublishedPolicy:
        """The newest whole policy; others are skipped with a warning that says why.

        Raises:
            NoPolicyError: There is none, or none that can be read.
            OSError: Storage is away.
        """
        reasons: list[str] = []
        for _ in range(_LOOKS):
            reasons, gone = [], False
            for ref in self.candidates():
                try:
                    return self._fetch_insistently(ref)
                except FileNotFoundError:
                    if not self.missed(ref):
                        gone = True
                        continue
                    reasons.append(missing_manifest(ref))
                except BrokenPolicyError as error:
                    reasons.append(str(error))
                logger.warning("policy skipped: %s", reasons[-1])
            if not gone:
                break
        found = "; ".join(reasons) if reasons else "nothing is published there yet"
        raise NoPolicyError(f"no usable policy in {self.storage.root}: {found}")

    def _fetch_insistently(self, ref: PolicyRef) -> PublishedPolicy:
        """Read one policy, once more where it alone could not be: that may have been a moment's.

        Raises what :meth:`fetch` does, and BrokenPolicyError where it still cannot be read.
        """
        reason = ""
        for _ in range(_READS):
            try:
                return self.fetch(ref)
            except FileNotFoundError:
                raise
            except OSError as error:
                if not self.answers():
                    raise
                reason = str(error)
        raise BrokenPolicyError(f"{ref.version}: it cannot be read: {reason}")

    def missed(self, ref: PolicyRef, follow: Follow = "latest") -> bool:
        """Whether a policy that was not found should have been: it is still the one to use.

        One that was merely deleted has successors, which come behind it in :meth:`candidates`.
        """
        try:
            return self.followed_ref(follow) == ref
        except BrokenPolicyError:
            return False
