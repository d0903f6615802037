from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import PublishPolicy, build_actor, build_manifest
from tests.damages import FEW_DAMAGES, Corrupt, cut, each_damage, flip
from training.policy.acting import weights_to_bytes
from training.policy.manifest import WEIGHTS_FILE
from training.policy.published import BrokenPolicyError
from training.store.layout import LATEST_FILE, PolicyRef, progress_file
from training.store.policies import NoPolicyError, PolicyStore

ABSENT = PolicyRef(run="run-a", version="absent")


def versions(store: PolicyStore) -> list[str]:
    return [manifest.version for manifest in store.listing().policies]


def test_a_published_policy_is_the_newest(
    any_store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    publish_policy(any_store, iteration=1)
    ref = publish_policy(any_store, iteration=2)
    newest = any_store.newest()
    assert newest.weights == weights_to_bytes(build_actor(seed=2))
    assert newest.manifest == build_manifest(newest.weights, iteration=2)
    assert any_store.latest_ref() == ref
    assert any_store.fetch(ref) == newest


def test_policies_are_listed_newest_first_over_all_runs(
    any_store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    refs = [
        publish_policy(any_store, iteration=iteration, run=run)
        for iteration, run in [(2, "run-b"), (4, "run-a"), (3, "run-b"), (1, "run-c")]
    ]
    assert versions(any_store) == [refs[i].version for i in (1, 2, 0, 3)]
    assert any_store.listing().broken == {}


def test_policies_of_one_moment_are_listed_by_version(
    store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    for run in ("run-b", "run-c", "run-a"):
        publish_policy(store, run=run)
    assert [manifest.run for manifest in store.listing().policies] == ["run-c", "run-b", "run-a"]


def test_an_earlier_policy_can_be_promoted(
    any_store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    earlier = publish_policy(any_store, iteration=1)
    publish_policy(any_store, iteration=2)
    any_store.promote(earlier)
    assert any_store.newest().manifest.version == earlier.version


def test_an_empty_root_says_that_nothing_is_published(any_store: PolicyStore) -> None:
    with pytest.raises(NoPolicyError, match="nothing is published there yet") as refusal:
        any_store.newest()
    assert any_store.storage.root in str(refusal.value)
    assert any_store.listing().policies == []
    assert any_store.latest_ref() is None


def test_a_policy_without_manifest_is_not_there(
    any_store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    earlier = publish_policy(any_store, iteration=1)
    half = PolicyRef(run="run-a", version="half-published")
    any_store.storage.write(f"{half.folder}/{WEIGHTS_FILE}", b"weights")
    assert versions(any_store) == [earlier.version]
    assert any_store.listing().broken == {}
    with pytest.raises(FileNotFoundError):
        any_store.fetch(half)


def test_a_latest_file_that_names_an_absent_policy_is_passed_over_with_a_reason(
    any_store: PolicyStore, publish_policy: PublishPolicy, caplog: pytest.LogCaptureFixture
) -> None:
    ref = publish_policy(any_store)
    any_store.promote(ABSENT)
    assert any_store.newest().manifest.version == ref.version
    assert "policy skipped: absent: it has no manifest.json" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"run": "run-a", "version": "../../../etc/passwd"}',
        b'{"run": "run-a", "version": "x", "more": 1}',
    ],
)
def test_a_latest_file_that_makes_no_sense_is_passed_over_with_a_reason(
    store: PolicyStore,
    publish_policy: PublishPolicy,
    caplog: pytest.LogCaptureFixture,
    content: bytes,
) -> None:
    publish_policy(store, iteration=1)
    newer = publish_policy(store, iteration=2)
    store.storage.write(LATEST_FILE, content)
    with pytest.raises(BrokenPolicyError, match=r"latest\.json is not valid: "):
        store.latest_ref()
    assert store.newest().manifest.version == newer.version
    assert "policies are listed instead: latest.json is not valid: " in caplog.text


def test_without_a_latest_file_the_newest_policy_is_used(
    any_store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    publish_policy(any_store, iteration=1)
    newer = publish_policy(any_store, iteration=2)
    any_store.storage.filesystem.delete_file(any_store.storage.at(LATEST_FILE))
    assert any_store.newest().manifest.version == newer.version


@each_damage(FEW_DAMAGES)
def test_a_damaged_policy_is_passed_over_for_the_newest_whole_one_with_a_reason(
    store: PolicyStore,
    publish_policy: PublishPolicy,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Corrupt], None],
    reason: str,
) -> None:
    publish_policy(store, iteration=1)
    whole = publish_policy(store, iteration=2)
    latest = publish_policy(store, iteration=3)
    damage(Corrupt(store.storage, latest))
    assert store.newest().manifest.version == whole.version
    (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert warning.getMessage().startswith(f"policy skipped: {latest.version}: ")
    assert re.search(reason, warning.getMessage())


@each_damage({name: FEW_DAMAGES[name] for name in ("noise", "future format")})
def test_a_manifest_that_no_latest_file_leads_to_is_told_too(
    store: PolicyStore,
    publish_policy: PublishPolicy,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Corrupt], None],
    reason: str,
) -> None:
    ref = publish_policy(store)
    damage(Corrupt(store.storage, ref))
    store.storage.filesystem.delete_file(store.storage.at(LATEST_FILE))
    with pytest.raises(NoPolicyError, match=reason):
        store.newest()
    assert f"policy skipped: {ref.version}: " in caplog.text


def test_a_manifest_that_is_not_to_be_believed_is_listed_as_broken(
    any_store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    whole = publish_policy(any_store, iteration=1)
    broken = publish_policy(any_store, iteration=2)
    Corrupt(any_store.storage, broken).set_field("format_version", 2)
    listing = any_store.listing()
    assert [manifest.version for manifest in listing.policies] == [whole.version]
    assert list(listing.broken) == [broken]
    assert "format_version" in listing.broken[broken]


def test_a_folder_whose_name_is_no_version_is_skipped_with_a_reason(
    store: PolicyStore, publish_policy: PublishPolicy, caplog: pytest.LogCaptureFixture
) -> None:
    ref = publish_policy(store)
    store.storage.write("runs/run-a/policies/.hidden/manifest.json", b"{}")
    assert list(store.refs()) == [ref]
    assert "run-a/.hidden is not a valid name of a policy, skipped" in caplog.text


def test_other_files_of_a_run_are_no_policies(
    store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    ref = publish_policy(store)
    store.storage.write(progress_file("run-a"), b"trial\n")
    store.storage.write("runs/run-b/trial-1/checkpoint/file", b"content")
    assert list(store.refs()) == [ref]


@pytest.mark.parametrize("change", [partial(flip, 50), partial(cut, 99)])
def test_publishing_refuses_weights_that_the_manifest_does_not_describe(
    store: PolicyStore, change: Callable[[bytes], bytes]
) -> None:
    weights = weights_to_bytes(build_actor())
    with pytest.raises(BrokenPolicyError, match="its manifest says"):
        store.publish(build_manifest(weights), change(weights))
    assert not Path(store.storage.root).exists()


def test_a_reader_never_sees_half_a_policy_while_two_trainers_publish(
    any_store: PolicyStore, publish_policy: PublishPolicy, caplog: pytest.LogCaptureFixture
) -> None:
    publish_policy(any_store)
    # Names of different lengths, so that one's latest.json is no other's with other letters.
    command = [sys.executable, "-m", "tests.training.publisher", any_store.storage.root]
    trainers = [
        subprocess.Popen(
            [*command, run, "15"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for run in ("run-b", "run-of-another-trainer")
    ]
    for trainer in trainers:
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == "ready\n"
    for trainer in trainers:
        assert trainer.stdin is not None
        trainer.stdin.write("\n")
        trainer.stdin.flush()
    polls = 0
    while any(trainer.poll() is None for trainer in trainers) or polls < 3:
        any_store.newest()
        listing = any_store.listing()
        assert listing.broken == {}
        for manifest in listing.policies[:2]:
            any_store.fetch(PolicyRef(run=manifest.run, version=manifest.version))
        polls += 1
    said = [trainer.communicate()[0].split() for trainer in trainers]
    assert [trainer.returncode for trainer in trainers] == [0, 0]
    assert {version for versions in said for version in versions} < set(versions(any_store))
    # Whoever was the last one: what is the latest is whole, and some trainer's last policy.
    latest = any_store.newest().manifest
    assert any_store.latest_ref() == PolicyRef(run=latest.run, version=latest.version)
    assert latest.version in [versions[-1] for versions in said]
    assert not caplog.records


def test_a_run_folder_that_was_renamed_is_not_believed(
    store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    ref = publish_policy(store, run="run-a")
    runs = Path(store.storage.at("runs"))
    (runs / "run-a").rename(runs / "run-b")
    listing = store.listing()
    assert listing.policies == []
    (reason,) = listing.broken.values()
    assert reason == (
        f"{ref.version}: its manifest belongs to {ref.version} of run run-a, "
        "and its folder to run run-b"
    )
