from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.conftest import PublishPolicy, build_manifest, exists
from tests.damages import (
    FEW_DAMAGES,
    MANIFEST_DAMAGES,
    UNPICKLED,
    WEIGHTS_DAMAGES,
    Corrupt,
    each_damage,
)
from training.policy.published import BrokenPolicyError
from training.store.policies import PolicyStore
from training.store.published import parse_manifest, verify


@each_damage(WEIGHTS_DAMAGES | MANIFEST_DAMAGES)
def test_a_damaged_policy_is_broken(
    store: PolicyStore,
    publish_policy: PublishPolicy,
    damage: Callable[[Corrupt], None],
    reason: str,
) -> None:
    ref = publish_policy(store)
    damage(Corrupt(store.storage, ref))
    with pytest.raises(BrokenPolicyError, match=reason) as refusal:
        store.fetch(ref)
    assert str(refusal.value).startswith(f"{ref.version}: ")
    assert not exists(store.storage, UNPICKLED)


@each_damage(FEW_DAMAGES)
def test_a_damaged_policy_is_broken_on_every_kind_of_storage(
    any_store: PolicyStore,
    publish_policy: PublishPolicy,
    damage: Callable[[Corrupt], None],
    reason: str,
) -> None:
    ref = publish_policy(any_store)
    damage(Corrupt(any_store.storage, ref))
    with pytest.raises(BrokenPolicyError, match=reason):
        any_store.fetch(ref)


def test_verifying_names_the_policy_and_both_sizes() -> None:
    manifest = build_manifest(b"weights")
    with pytest.raises(BrokenPolicyError, match=f"{manifest.version}: .* 3 bytes, .* says 7"):
        verify(manifest.model_dump_json().encode(), b"wei")


def test_every_fault_of_a_manifest_is_told() -> None:
    described = json.loads(build_manifest(b"weights").model_dump_json())
    content = json.dumps(described | {"format_version": 9, "iteration": -1}).encode()
    with pytest.raises(BrokenPolicyError) as refusal:
        parse_manifest(content)
    assert "iteration: " in str(refusal.value)
    assert "format_version: " in str(refusal.value)
