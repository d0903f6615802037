"""Load policies: one mapping of what may be wrong with one to errors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from app.errors import PolicyNotFoundError
from app.policies.bundled import read_bundled
from app.policies.names import Source
from training.policy.acting import Policy
from training.policy.published import BrokenPolicyError, PublishedPolicy
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore
from training.store.storage import StorageError


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy that is ready to act."""

    policy: Policy
    ref: PolicyRef
    loaded_at: datetime
    source: Source = "storage"
    files: PublishedPolicy | None = None
    """Its files as they were read from storage; None for the bundled policy."""

    @classmethod
    def now(
        cls, policy: Policy, source: Source, files: PublishedPolicy | None = None
    ) -> LoadedPolicy:
        """A policy that was loaded just now."""
        manifest = policy.manifest
        ref = PolicyRef(run=manifest.run, version=manifest.version)
        return cls(policy, ref, datetime.now(UTC), source, files)


def build_policy(published: PublishedPolicy) -> Policy:
    """Build a policy and warm it up.

    Raises:
        BrokenPolicyError: It cannot be built.
    """
    try:
        policy = Policy.from_published(published)
        policy.warm_up()
    except BrokenPolicyError:
        raise
    except Exception as error:
        version = published.manifest.version
        raise BrokenPolicyError(
            f"{version}: it cannot be built: {type(error).__name__}: {error}"
        ) from error
    return policy


def load_bundled() -> Policy:
    """Load the bundled policy.

    Raises:
        PolicyNotFoundError: It is missing or broken.
    """
    try:
        return build_policy(read_bundled())
    except (BrokenPolicyError, StorageError, OSError) as error:
        raise PolicyNotFoundError(f"the bundled policy cannot be used: {error}") from error


def load_stored(store: PolicyStore, ref: PolicyRef) -> Policy:
    """Load a published policy.

    Raises:
        PolicyNotFoundError: It is missing or broken.
        OSError: Storage cannot be read.
    """
    try:
        return build_policy(store.fetch(ref))
    except FileNotFoundError as error:
        raise PolicyNotFoundError(
            f"policy {ref.version} of run {ref.run} is not in storage"
        ) from error
    except BrokenPolicyError as error:
        raise PolicyNotFoundError(str(error)) from error
