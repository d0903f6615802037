"""Follow the latest or the best policy in a thread, so that requests never wait for storage."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from app.policies.loading import LoadedPolicy, build_policy
from training.policy.acting import Policy
from training.policy.published import BrokenPolicyError
from training.store.layout import PolicyRef
from training.store.pointers import POINTER_FILES, Follow, read_pointers
from training.store.policies import PolicyStore
from training.store.published import missing_manifest

logger = logging.getLogger(__name__)

T = TypeVar("T")


class PolicyWatcher:
    """Keeps the latest or the best valid policy loaded.

    Every ``interval_s`` it reads ``latest.json`` and ``best.json`` and nothing else. When the
    followed one names another policy, the watcher's thread loads that policy and then replaces
    :attr:`loaded`. Callers read :attr:`loaded` once per request.

    If a policy is broken, its reason is kept and the next valid one is served: the newest, or the
    one with the next validation score. Broken policies are tried again every ``retry_s``, since
    they may be repaired. While storage is unavailable, the loaded policy stays; storage is tried
    again every ``interval_s``. A policy that cannot be read counts as unavailable storage, unless
    nothing is loaded yet: then older policies are tried.

    The fallback is served while storage has no valid policy, or before the first successful check
    if :meth:`fall_back` is called.
    """

    def __init__(
        self,
        store: PolicyStore,
        interval_s: float,
        *,
        follow: Follow = "latest",
        retry_s: float = 30.0,
        fallback: Policy | None = None,
        on_look: Callable[[LoadedPolicy | None], None] | None = None,
        on_reload: Callable[[bool], None] | None = None,
    ) -> None:
        """Prepare the watcher; :meth:`start` starts it.

        Args:
            store: Holds the published policies.
            interval_s: Seconds between two checks.
            follow: Which policy to serve. While none has a validation score, ``best`` means the
                latest.
            retry_s: Seconds until broken policies are tried again.
            fallback: The policy to serve while storage has none.
            on_look: Called in the watcher's thread with the served policy, after every check.
            on_reload: Called there for every policy of storage: whether it was loaded.
        """
        self.fallback = fallback
        """The policy to serve while storage has none."""
        self.follow = follow
        """Whether the latest or the best policy is served."""
        self._on_look = on_look
        self._on_reload = on_reload
        self._store = store
        self._interval_s = interval_s
        self._retry_s = retry_s
        # Separate: different threads set them. The policy of storage has priority.
        self._loaded: LoadedPolicy | None = None
        self._fallen_back: LoadedPolicy | None = None
        self._away: str | None = None
        # Set before the fallback is served, since last_error depends on it.
        self._answered = False
        self._fault: str | None = None
        self._broken: dict[PolicyRef, str] = {}
        self._pointer_fault: str | None = None
        self._named: dict[Follow, PolicyRef | None] = {}
        # The pointer that was last acted upon, and when to act again even if it is unchanged.
        self._settled: tuple[PolicyRef | None, str | None] = (None, None)
        self._retry_at: float | None = 0.0
        self._stop = threading.Event()
        self._looked = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="policy-watcher", daemon=True)

    @property
    def loaded(self) -> LoadedPolicy | None:
        """The policy to serve; None until there is one."""
        return self._loaded or self._fallen_back

    @property
    def last_error(self) -> str | None:
        """Why the followed policy is not served; None while it is."""
        if self._away is None and self._fallen_back is not None and not self._answered:
            return f"storage has not answered yet ({self._store.storage.root})"
        return self._away or self._fault

    @property
    def broken(self) -> dict[str, str]:
        """Version → why it was not loaded, of all policies that were tried.

        Also the followed pointer, such as ``latest.json``, if it names no policy.
        """
        broken = {ref.version: reason for ref, reason in self._broken.copy().items()}
        fault = self._pointer_fault
        return broken if fault is None else broken | {POINTER_FILES[self.follow]: fault}

    def named(self, name: Follow) -> PolicyRef | None:
        """Return the latest or the best policy as of the last check; None if there is none."""
        return self._named.get(name)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Stop the thread and wait for its end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def wait_ready(self, timeout_s: float | None = None) -> bool:
        """Wait until a policy is loaded; return whether one is."""
        return self._ready.wait(timeout_s)

    def wait_looked(self, timeout_s: float | None = None) -> bool:
        """Wait for the first check of storage; return whether there was one.

        With a fallback, a check that failed does not count: storage may have a policy.
        """
        return self._looked.wait(timeout_s)

    def fall_back(self) -> None:
        """Serve the fallback, if there is one and no policy is loaded."""
        if self.fallback is None or self.loaded is not None:
            return
        self._fallen_back = LoadedPolicy.now(self.fallback, "bundled")
        self._ready.set()
        logger.info(
            "the bundled policy %s is served until there is one in %s",
            self.fallback.version,
            self._store.storage.root,
        )

    def _run(self) -> None:
        while not self._stop.is_set():
            away: str | None = None
            try:
                self.look()
            except OSError as error:
                away = f"storage is away ({self._store.storage.root}): {error}"
            except Exception as error:  # noqa: BLE001 - nothing may end this thread
                away = f"looking for policies failed: {type(error).__name__}: {error}"
            if away is None and self._away is not None:
                logger.info("storage can be read again")
            elif away is not None and self._away is None:
                logger.warning("%s; what is loaded is served", away)
            self._away = away
            if away is None:
                self._answered = True
                self.fall_back()
            if away is None or self.fallback is None:
                self._looked.set()
            _notify(self._on_look, self.loaded)
            self._stop.wait(self._interval_s)

    def look(self) -> None:
        """Check storage once, and load a policy if needed.

        Raises:
            OSError: Storage cannot be read.
        """
        followed, fault = read_pointers(self._store.storage, self.follow, self._named)
        retry_due = self._retry_at is not None and time.monotonic() >= self._retry_at
        if (followed, fault) == self._settled and not retry_due:
            return
        if fault is not None:
            _notify(self._on_reload, False)
        self._pointer_fault = fault
        faults = self._load_followed()
        self._settled = (followed, fault)
        loaded = self._loaded
        if loaded is not None and fault is None and followed in (None, loaded.ref):
            self._retry_at = None
        else:
            self._retry_at = time.monotonic() + self._retry_s
        self._fault = "; ".join(faults if fault is None else [fault, *faults]) or None

    def _load_followed(self) -> list[str]:
        """Load the first valid candidate; return why the candidates before it are not used.

        Raises:
            OSError: Storage cannot be read, or nothing is loaded and a policy cannot be read.
        """
        faults: list[str] = []
        unread: OSError | None = None
        for ref in self._store.candidates(self.follow):
            if self._loaded is not None and ref == self._loaded.ref:
                return faults
            if self._stop.is_set():
                return faults
            try:
                files = self._store.fetch(ref)
                policy = build_policy(files)
            except FileNotFoundError:
                # It was deleted after a newer one took its place: that is no fault.
                if not self._store.missed(ref, self.follow):
                    continue
                self._skip(ref, missing_manifest(ref), faults)
            except BrokenPolicyError as error:
                self._skip(ref, str(error), faults)
            except OSError as error:
                # While nothing is loaded, an older policy is better than none.
                if self._loaded is not None or not self._store.answers():
                    raise
                unread = unread or error
                self._skip(ref, f"{ref.version}: it cannot be read: {error}", faults)
            else:
                self._broken.pop(ref, None)
                self._loaded = LoadedPolicy.now(policy, "storage", files)
                self._ready.set()
                _notify(self._on_reload, True)
                logger.info("policy %s of run %s is served now", ref.version, ref.run)
                return faults
        if unread is not None:
            raise unread
        return faults

    def _skip(self, ref: PolicyRef, reason: str, faults: list[str]) -> None:
        """Record why a policy is not used; log each reason once."""
        if self._broken.get(ref) != reason:
            logger.warning("policy skipped: %s", reason)
        self._broken[ref] = reason
        faults.append(reason)
        _notify(self._on_reload, False)


def _notify(listener: Callable[[T], None] | None, news: T) -> None:
    """Call a listener; log its errors."""
    try:
        if listener is not None:
            listener(news)
    except Exception:
        logger.exception("a listener of the policy watcher failed")
