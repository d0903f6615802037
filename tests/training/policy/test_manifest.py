from __future__ import annotations

import json
from typing import Any

import pydantic
import pytest

from tests.conftest import build_manifest
from training.policy.manifest import FORMAT_VERSION, Manifest, SealError
from training.store.published import describe_files

DIGEST = "0" * 64


def document(**fields: Any) -> dict[str, Any]:
    """A manifest as the JSON document that is stored, with some fields replaced."""
    described: dict[str, Any] = json.loads(build_manifest(b"weights").model_dump_json())
    return described | fields


def parse(described: dict[str, Any]) -> Manifest:
    return Manifest.model_validate_json(json.dumps(described))


def test_a_manifest_survives_json() -> None:
    manifest = build_manifest(b"weights")
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


def test_a_manifest_carries_everything_that_is_needed_to_run_the_policy() -> None:
    described = document()
    assert described["format_version"] == FORMAT_VERSION == 1
    assert described["pipeline"] == {
        "frame_skip": 4,
        "size": 84,
        "stack": 4,
        "reward_scale": 0.1,
    }
    assert described["network"]["padding"] == "same"
    assert described["network"]["distribution"] == "diagonal_gaussian"
    assert described["action_mapping"] == "clip_unit_to_bounds"
    assert set(described["action_filter"]) == {"smooth_alpha", "steer_deadzone", "steer_clip"}


@pytest.mark.parametrize(
    "name",
    ["a", "A9", "PPO_carracing_2026-01-01", "v1.2..3", "x" * 128],
)
def test_plain_names_are_taken(name: str) -> None:
    assert parse(document(version=name, run=name, trial=name, recipe=name)).version == name


@pytest.mark.parametrize(
    ("field", "name"),
    [
        *(
            ("version", name)
            for name in ("", "..", ".hidden", "-x", "a\\b", "a b", "a\n", "a\0", "é", "x" * 129)
        ),
        *((field, "../x") for field in ("version", "run", "trial", "recipe")),
    ],
)
def test_names_that_are_no_safe_path_segment_are_refused(field: str, name: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=field):
        parse(document(**{field: name}))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"format_version": 2}, "format_version"),
        ({"iteration": -1}, "iteration"),
        ({"phase": "warm-up"}, "phase"),
        ({"created_at": "2026-01-01T00:00:00"}, "created_at"),
        ({"action_mapping": "tanh"}, "action_mapping"),
        ({"surprise": 1}, "surprise"),
        ({"pipeline": {"size": 0}}, "size"),
        ({"pipeline": {"surprise": 1}}, "pipeline.surprise"),
        ({"network": {"convolutions": []}}, "convolutions"),
        ({"network": {"padding": "reflect"}}, "network.padding"),
        ({"network": {"distribution": "cauchy"}}, "network.distribution"),
        ({"action_filter": {"smooth_alpha": 0}}, "smooth_alpha"),
        ({"files": {}}, "policy.safetensors"),
        ({"files": {"../../etc/passwd": {"sha256": DIGEST, "size": 1}}}, "files"),
        ({"files": {"policy.safetensors": {"sha256": "ABC", "size": 1}}}, "sha256"),
        ({"files": {"policy.safetensors": {"sha256": DIGEST, "size": 0}}}, "size"),
        ({"files": {"policy.safetensors": {"sha256": DIGEST, "size": 2**40}}}, "size"),
    ],
)
def test_a_document_that_is_no_manifest_is_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=named):
        parse(document(**fields))


def test_no_file_besides_the_weights_can_be_named() -> None:
    files = document()["files"] | {"../policy.py": {"sha256": DIGEST, "size": 1}}
    with pytest.raises(pydantic.ValidationError, match=r"policy\.safetensors"):
        parse(document(files=files))


def test_the_digest_is_the_weights() -> None:
    manifest = build_manifest(b"weights")
    assert manifest.digest == describe_files(b"weights")["policy.safetensors"].sha256


def test_manifests_are_ordered_by_the_time_of_publishing_then_by_version() -> None:
    first = build_manifest(b"weights", iteration=1)
    later = build_manifest(b"weights", iteration=2)
    twin = build_manifest(b"weights", iteration=1, run="run-b")
    ordered = sorted([twin, later, first], key=lambda manifest: manifest.order)
    assert ordered == [first, twin, later]


def test_a_sealed_file_is_the_manifest_in_any_order_and_spacing() -> None:
    manifest = build_manifest(b"weights")
    content = manifest.to_file()
    assert Manifest.from_file(content) == manifest
    backwards = dict(reversed(json.loads(content).items()))
    assert Manifest.from_file(json.dumps(backwards, indent=None).encode()) == manifest


def test_a_file_of_before_there_were_seals_is_read() -> None:
    manifest = build_manifest(b"weights")
    assert Manifest.from_file(manifest.model_dump_json().encode()) == manifest


def test_the_phase_that_an_earlier_version_named_otherwise_is_read() -> None:
    assert parse(document(phase="stabilize")).phase == "finetune"


@pytest.mark.parametrize("field", ["version", "mean_return", "created_at", "files"])
def test_a_sealed_file_whose_field_was_changed_is_refused(field: str) -> None:
    others = json.loads(build_manifest(b"other weights", iteration=2, run="run-b").to_file())
    changed = json.loads(build_manifest(b"weights").to_file())
    changed[field] = "0" if changed[field] == others[field] else others[field]
    with pytest.raises((SealError, pydantic.ValidationError)):
        Manifest.from_file(json.dumps(changed).encode())


@pytest.mark.parametrize("seal", [None, "", "0" * 64])
def test_a_seal_that_is_another_s_is_refused(seal: object) -> None:
    described = json.loads(build_manifest(b"weights").to_file()) | {"seal": seal}
    with pytest.raises((SealError, pydantic.ValidationError), match="seal"):
        Manifest.from_file(json.dumps(described).encode())
