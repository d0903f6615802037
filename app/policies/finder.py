"""Find a policy by name: ``served``, ``latest``, ``best``, ``bundled``, or a version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, NamedTuple

import pydantic
from cachetools import LRUCache, TTLCache

from app.errors import NoPolicyLoadedError, PolicyNotFoundError
from app.policies.listing import Lister
from app.policies.loading import LoadedPolicy, load_bundled, load_stored
from app.policies.names import BEST, BUNDLED, LATEST, NEWEST, SERVED, Source
from app.policies.storage_reader import StorageReader
from app.policies.watcher import PolicyWatcher
from training.policy.manifest import MANIFEST_FILE, Manifest
from training.policy.published import BrokenPolicyError, PublishedPolicy
from training.store.layout import PolicyRef
from training.store.pointers import Follow
from training.store.policies import PolicyStore
from training.store.published import parse_manifest
from training.store.validation_scores import best_first

_KEPT: Final = 4
"""Loaded policies that are kept."""
_MANIFESTS_KEPT: Final = 256
_MANIFEST_S: Final = 5.0
"""How long a manifest is used before it is read again: its policy may have been deleted."""
_REPEATED: Final = 128
"""Characters of an unknown name that an error repeats: as long as a name may be."""


class Described(NamedTuple):
    """A policy's manifest, and where the policy is."""

    manifest: Manifest
    source: Source


class PolicyFinder:
    """Finds policies and keeps those that were used last. It belongs to one event loop."""

    def __init__(
        self, store: PolicyStore, watcher: PolicyWatcher, lister: Lister, reader: StorageReader
    ) -> None:
        self._store = store
        self._reader = reader
        self._watcher = watcher
        self._lister = lister
        self._kept: LRUCache[tuple[Source, str], LoadedPolicy] = LRUCache(_KEPT)
        self._loading: dict[tuple[Source, str], asyncio.Task[LoadedPolicy]] = {}
        self._manifests: TTLCache[str, Manifest] = TTLCache(_MANIFESTS_KEPT, _MANIFEST_S)

    async def find(self, name: str) -> LoadedPolicy:
        """Return the policy with a name, ready to act.

        Args:
            name: ``served``: the policy that the service follows. ``latest``: the policy that was
                promoted last. ``best``: the policy with the highest validation score, or the latest
                while none has a score. ``bundled``, or a version.

        Raises:
            PolicyNotFoundError: There is no such policy, or it is broken.
            NoPolicyLoadedError: The name is ``served``, ``latest`` or ``best``, and no policy is
                loaded yet.
            OverloadedError: Too many requests wait for a listing of storage.
            StorageUnavailableError: Storage cannot be read.
        """
        if name == SERVED:
            return self.served()
        if name in (LATEST, NEWEST):
            return await self._followed("latest")
        if name == BEST:
            return await self._followed("best")
        if name == BUNDLED:
            return await self._bundled()
        return await self._version(name)

    async def describe(self, version: str) -> Described:
        """Return the manifest of a version; no weights are loaded.

        Storage is not read for the served policy and for the bundled one.

        Raises:
            PolicyNotFoundError: There is no such version, or its manifest is broken.
            StorageUnavailableError: Storage cannot be read.
        """
        loaded, fallback = self._watcher.loaded, self._watcher.fallback
        if loaded is not None and loaded.ref.version == version:
            return Described(loaded.policy.manifest, loaded.source)
        if fallback is not None and fallback.version == version:
            return Described(fallback.manifest, "bundled")
        manifest = self._manifests.get(version)
        if manifest is None:
            manifest = await self._reader.read(partial(self._read_manifest, version))
            self._manifests[version] = manifest
        return Described(manifest, "storage")

    def served(self) -> LoadedPolicy:
        """Return the policy that the service follows; raises NoPolicyLoadedError."""
        loaded = self._watcher.loaded
        if loaded is None:
            raise NoPolicyLoadedError(
                f"no usable policy is published yet in {self._store.storage.root}; the service "
                "looks again every few seconds"
            )
        return loaded

    def served_files(self, version: str, source: Source) -> PublishedPolicy | None:
        """Return the files of the served policy if it has this version and source.

        None otherwise, and for the bundled policy, which every process can read.
        """
        loaded = self._watcher.loaded
        if loaded is None or (loaded.ref.version, loaded.source) != (version, source):
            return None
        return loaded.files

    def _read_manifest(self, version: str) -> Manifest:
        unknown = f"there is no policy {version[:_REPEATED]!r}; GET /policies lists the versions"
        try:
            ref = PolicyRef.of_version(version)
            content = self._store.storage.read(f"{ref.folder}/{MANIFEST_FILE}")
            return parse_manifest(content, ref=ref)
        except (pydantic.ValidationError, FileNotFoundError) as error:
            raise PolicyNotFoundError(unknown) from error
        except BrokenPolicyError as error:
            raise PolicyNotFoundError(str(error)) from error

    async def _followed(self, follow: Follow) -> LoadedPolicy:
        """Return the latest or the best policy, whichever the service follows."""
        served = self.served()
        named = self._watcher.named(follow)
        if follow == self._watcher.follow or named is None or served.source == "bundled":
            return served
        try:
            return await self._stored(named)
        except PolicyNotFoundError:
            return await self._next_of(follow, named)

    async def _next_of(self, follow: Follow, unusable: PolicyRef) -> LoadedPolicy:
        """Return the next policy after the one that storage names and that cannot be used."""
        listing = await self._lister.listing()
        by_age = (PolicyRef(run=m.run, version=m.version) for m in listing.policies)
        by_score = best_first(listing.validations) if follow == "best" else []
        for ref in dict.fromkeys((*by_score, *by_age)):
            if ref == unusable:
                continue
            try:
                return await self._stored(ref)
            except PolicyNotFoundError:
                continue
        return self.served()

    async def _bundled(self) -> LoadedPolicy:
        # Not through the storage reader: storage may not answer at the moment.
        return await self._load_once(
            ("bundled", BUNDLED), partial(asyncio.to_thread, self._load_bundled)
        )

    def _load_bundled(self) -> LoadedPolicy:
        return LoadedPolicy.now(self._watcher.fallback or load_bundled(), "bundled")

    async def _version(self, version: str) -> LoadedPolicy:
        manifest, source = await self.describe(version)
        if source == "bundled":
            return await self._bundled()
        return await self._stored(PolicyRef(run=manifest.run, version=manifest.version))

    async def _stored(self, ref: PolicyRef) -> LoadedPolicy:
        loaded = self._watcher.loaded
        if loaded is not None and loaded.ref == ref:
            return loaded
        load = partial(self._reader.read, partial(self._load_stored, ref))
        return await self._load_once(("storage", ref.folder), load)

    def _load_stored(self, ref: PolicyRef) -> LoadedPolicy:
        return LoadedPolicy.now(load_stored(self._store, ref), "storage")

    async def _load_once(
        self, key: tuple[Source, str], load: Callable[[], Coroutine[Any, Any, LoadedPolicy]]
    ) -> LoadedPolicy:
        """Return a policy that was loaded before or is being loaded; else load it."""
        if (kept := self._kept.get(key)) is not None:
            return kept
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(load())
            task.add_done_callback(partial(self._loaded, key))
        # A client that disconnects does not cancel the load for the others.
        return await asyncio.shield(task)

    def _loaded(self, key: tuple[Source, str], task: asyncio.Task[LoadedPolicy]) -> None:
        del self._loading[key]
        # exception() marks the error as retrieved: there may be no waiter left.
        if not task.cancelled() and task.exception() is None:
            self._kept[key] = task.result()
