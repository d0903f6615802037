"""Policies by name: ``served``, ``latest``, ``best``, ``bundled``, or a published version."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from app.api.schemas import SERVED
from app.policies.bundled import Source, load_bundled
from app.policies.listing import Lister
from app.policies.storage_reads import StorageReads
from app.policies.watcher import LoadedPolicy, PolicyWatcher
from training.policy.acting import Policy
from training.policy.manifest import Manifest
from training.store.layout import PolicyRef
from training.store.pointers import Follow
from training.store.policies import NoPolicyError, PolicyStore
from training.store.published import BrokenPolicyError
from training.store.validation_scores import best_first

LATEST = "latest"
BEST = "best"
BUNDLED = "bundled"
NEWEST = "newest"
"""An older name of the latest one, which links and programs may still use."""
NAMES = frozenset({SERVED, LATEST, BEST, BUNDLED, NEWEST})

_KEPT = 4
_REPEATED = 128
"""Characters of an unknown name that an error repeats: as long as a name may be."""


class UnknownPolicyError(Exception):
    """There is no usable policy of a name; the message says why, and what would be one."""


class Described(NamedTuple):
    """A policy by what it says about itself."""

    manifest: Manifest
    source: Source


class PolicyShelf:
    """Finds policies and keeps those that were used last. It belongs to one event loop."""

    def __init__(
        self, store: PolicyStore, watcher: PolicyWatcher, lister: Lister, reads: StorageReads
    ) -> None:
        self._store = store
        self._reads = reads
        self._watcher = watcher
        self._lister = lister
        self._kept: OrderedDict[tuple[Source, str], LoadedPolicy] = OrderedDict()
        self._loading: dict[tuple[Source, str], asyncio.Task[LoadedPolicy]] = {}

    async def find(self, name: str) -> LoadedPolicy:
        """The policy of a name, ready to act.

        Args:
            name: ``served``: the one that the service follows. ``latest``: the one that was
                promoted last. ``best``: the one with the highest validation score; the latest
                while none has a score. ``bundled``, or a version.

        Raises:
            UnknownPolicyError: There is none of this name, or it is broken.
            NoPolicyError: ``served``, ``latest`` or ``best``, and there is none at all yet.
            BusyError: Too many wait for storage to be listed.
            OSError: Storage is away.
        """
        if name == SERVED:
            return self._served()
        if name in (LATEST, NEWEST):
            return await self._followed("latest")
        if name == BEST:
            return await self._followed("best")
        if name == BUNDLED:
            return await self._bundled()
        return await self._version(name)

    async def describe(self, version: str) -> Described:
        """The policy of a version, by its manifest alone: no weights are loaded.

        Storage is not touched for the policy that is served and for the bundled one.

        Raises:
            UnknownPolicyError: There is none of this version, or its manifest is broken.
            BusyError: Too many wait for storage to be listed.
            OSError: Storage is away.
        """
        loaded, fallback = self._watcher.loaded, self._watcher.fallback
        if loaded is not None and loaded.ref.version == version:
            return Described(loaded.policy.manifest, loaded.source)
        if fallback is not None and fallback.version == version:
            return Described(fallback.manifest, "bundled")
        # What is missing may have been published since the last listing.
        for new in (False, True):
            listing = await self._lister.listing(new=new)
            for manifest in listing.policies:
                if manifest.version == version:
                    return Described(manifest, "storage")
        reasons = [reason for ref, reason in listing.broken.items() if ref.version == version]
        raise UnknownPolicyError(
            "; ".join(reasons)
            or f"there is no policy {version[:_REPEATED]!r}; GET /policies lists the versions"
        )

    def served(self, version: str, source: Source) -> Policy | None:
        """The policy of that name and place if it is the one that is served; else None."""
        loaded = self._watcher.loaded
        if loaded is None or (loaded.ref.version, loaded.source) != (version, source):
            return None
        return loaded.policy

    def _served(self) -> LoadedPolicy:
        loaded = self._watcher.loaded
        if loaded is None:
            raise NoPolicyError(f"nothing usable is published yet in {self._store.storage.root}")
        return loaded

    async def _followed(self, follow: Follow) -> LoadedPolicy:
        """The latest or the best one, whichever the service follows."""
        served = self._served()
        named = self._watcher.named(follow)
        if follow == self._watcher.follow or named is None or served.source == "bundled":
            return served
        try:
            return await self._stored(named)
        except UnknownPolicyError:
            return await self._next_of(follow, named)

    async def _next_of(self, follow: Follow, unusable: PolicyRef) -> LoadedPolicy:
        """What comes after the policy that storage names and that cannot be used."""
        listing = await self._lister.listing()
        by_age = (PolicyRef(run=m.run, version=m.version) for m in listing.policies)
        by_score = best_first(listing.validations) if follow == "best" else []
        for ref in dict.fromkeys((*by_score, *by_age)):
            if ref == unusable:
                continue
            try:
                return await self._stored(ref)
            except UnknownPolicyError:
                continue
        return self._served()

    async def _bundled(self) -> LoadedPolicy:
        # Not as storage is read, which may not answer at the moment.
        return await self._keep(
            ("bundled", BUNDLED), partial(asyncio.to_thread, self._load_bundled)
        )

    def _load_bundled(self) -> LoadedPolicy:
        try:
            policy = self._watcher.fallback or load_bundled()
        except (BrokenPolicyError, OSError) as error:
            raise UnknownPolicyError(f"the bundled policy cannot be used: {error}") from error
        manifest = policy.manifest
        ref = PolicyRef(run=manifest.run, version=manifest.version)
        return LoadedPolicy(policy, ref, datetime.now(UTC), "bundled")

    async def _version(self, version: str) -> LoadedPolicy:
        manifest, source = await self.describe(version)
        if source == "bundled":
            return await self._bundled()
        return await self._stored(PolicyRef(run=manifest.run, version=manifest.version))

    async def _stored(self, ref: PolicyRef) -> LoadedPolicy:
        loaded = self._watcher.loaded
        if loaded is not None and loaded.ref == ref:
            return loaded
        load = partial(self._reads.read, partial(self._load, ref))
        return await self._keep(("storage", ref.folder), load)

    def _load(self, ref: PolicyRef) -> LoadedPolicy:
        try:
            policy = Policy.from_published(self._store.fetch(ref))
            policy.warm_up()
        except FileNotFoundError as error:
            raise UnknownPolicyError(f"{ref.version} is not in storage any more") from error
        except BrokenPolicyError as error:
            raise UnknownPolicyError(str(error)) from error
        return LoadedPolicy(policy, ref, datetime.now(UTC))

    async def _keep(
        self, key: tuple[Source, str], load: Callable[[], Coroutine[Any, Any, LoadedPolicy]]
    ) -> LoadedPolicy:
        """What was loaded before, or is being loaded; else load it."""
        if (kept := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return kept
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(load())
            task.add_done_callback(partial(self._loaded, key))
        # One who leaves does not take it away from the others.
        return await asyncio.shield(task)

    def _loaded(self, key: tuple[Source, str], task: asyncio.Task[LoadedPolicy]) -> None:
        del self._loading[key]
        # Asking for the exception marks it as seen, should nobody wait any more.
        if task.cancelled() or task.exception() is not None:
            return
        self._kept[key] = task.result()
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
