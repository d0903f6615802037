from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.conftest import PublishPolicy, build_actor, build_manifest, build_policy
from training.environment.actions import to_controls
from training.policy.acting import Policy, weights_to_bytes
from training.policy.distributions import mean
from training.policy.manifest import PolicyDescription
from training.policy.network import ConvLayer, NetworkShape
from training.policy.published import BrokenPolicyError, PublishedPolicy
from training.recipe import RECIPES
from training.store.policies import PolicyStore
from training.store.published import read_policy
from training.store.storage import Storage

Tensors = dict[str, Tensor]

LAST_BIAS = "head.2.bias"


def pictures(number: int = 4) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (number, 84, 84, 4), np.uint8)


def load(weights: bytes, shape: NetworkShape | None = None) -> Policy:
    """Load weights whose manifest has the right digest, whatever is in them."""
    fields: dict[str, Any] = {} if shape is None else {"network": shape}
    return Policy.from_published(PublishedPolicy(build_manifest(weights, **fields), weights))


def test_a_loaded_policy_drives_as_the_saved_one() -> None:
    actor = build_actor(seed=3)
    loaded = load(weights_to_bytes(actor))
    with torch.inference_mode():
        outputs = mean("diagonal_gaussian", actor(torch.from_numpy(pictures())))
    np.testing.assert_array_equal(loaded.act(pictures()), to_controls(outputs.numpy()))


def test_the_digest_is_that_of_the_weights_published_or_not() -> None:
    actor = build_actor(seed=3)
    weights = weights_to_bytes(actor)
    loaded = load(weights)
    described = {name: getattr(loaded.manifest, name) for name in PolicyDescription.model_fields}
    own = Policy(PolicyDescription(**described), actor, version="own")
    assert loaded.digest == own.digest == hashlib.sha256(weights).hexdigest()
    assert loaded.weights == own.weights == weights


def test_a_policy_of_the_published_shape_can_be_loaded() -> None:
    shape = NetworkShape()
    assert load(weights_to_bytes(build_actor(shape=shape)), shape).act(pictures(1)).shape == (1, 3)


def test_a_beta_policy_drives_steering_and_pedal() -> None:
    description = RECIPES["swift"].description()
    torch.manual_seed(0)
    actor = description.build_actor()
    weights = weights_to_bytes(actor)
    manifest = build_manifest(weights, **dict(description))
    policy = Policy.from_published(PublishedPolicy(manifest, weights))
    with torch.inference_mode():
        outputs = mean("beta", actor(torch.from_numpy(pictures()))).numpy()
    np.testing.assert_array_equal(
        policy.act(pictures()), to_controls(outputs, "steering_and_pedal")
    )
    policy.warm_up()


def test_a_network_that_its_pictures_do_not_fill_is_refused() -> None:
    shape = NetworkShape(convolutions=(ConvLayer(1, 8, 8), ConvLayer(1, 16, 1)), padding="valid")
    with pytest.raises(BrokenPolicyError, match="10 pixels"):
        load(weights_to_bytes(build_actor()), shape)


def test_the_same_weights_are_the_same_bytes() -> None:
    assert weights_to_bytes(build_actor(seed=3)) == weights_to_bytes(build_actor(seed=3))


def test_a_greedy_policy_drives_its_mapped_mean() -> None:
    actor = build_actor(means=(2, 0.5, -3))
    head = actor.head[-1]
    assert isinstance(head, torch.nn.Linear)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([2, 0.5, -3, 1, 1, 1]))
    expected = np.array([[1, 0.75, 0]] * 4, np.float32)
    np.testing.assert_array_equal(build_policy(actor).act(pictures()), expected)


def test_floats_and_bytes_give_the_same_controls() -> None:
    policy = build_policy()
    np.testing.assert_array_equal(
        policy.act(pictures()), policy.act(pictures().astype(np.float32) / 255)
    )


def test_controls_are_within_their_bounds() -> None:
    controls = build_policy().act(pictures(32), seed=0)
    assert controls.dtype == np.float32
    assert (controls >= [-1, 0, 0]).all()
    assert (controls <= [1, 1, 1]).all()


def test_sampling_is_the_same_for_the_same_seed() -> None:
    policy = build_policy()
    first = policy.act(pictures(), seed=5)
    np.testing.assert_array_equal(policy.act(pictures(), seed=5), first)
    assert not np.array_equal(policy.act(pictures(), seed=6), first)
    assert not np.array_equal(policy.act(pictures()), first)


def test_sampling_leaves_torchs_own_generator_alone() -> None:
    policy = build_policy()
    before = torch.random.get_rng_state()
    policy.act(pictures(), seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_policy_can_be_shared_between_threads() -> None:
    policy = build_policy()
    expected = policy.act(pictures())
    with ThreadPoolExecutor(4) as threads:
        for controls in threads.map(lambda _: policy.act(pictures()), range(16)):
            np.testing.assert_array_equal(controls, expected)


def test_no_observations_get_no_controls() -> None:
    assert build_policy().act(pictures(0)).shape == (0, 3)


@pytest.fixture
def warn_always() -> Iterator[None]:
    """Torch gives some warnings once in a process; here every time."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


@pytest.mark.usefixtures("warn_always")
def test_observations_may_be_read_only() -> None:
    policy = build_policy()
    received = np.frombuffer(pictures().tobytes(), np.uint8).reshape(4, 84, 84, 4)
    np.testing.assert_array_equal(policy.act(received), policy.act(pictures()))


def test_observations_may_be_a_view() -> None:
    policy = build_policy()
    mirrored = pictures()[:, :, ::-1]
    np.testing.assert_array_equal(policy.act(mirrored), policy.act(mirrored.copy()))


@pytest.mark.parametrize("shape", [(84, 84, 4), (1, 84, 84, 3), (1, 1, 84, 84, 4)])
def test_observations_of_another_shape_are_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape") as refusal:
        build_policy().act(np.zeros(shape, np.uint8))
    assert str(shape) in str(refusal.value)
    assert "(N, 84, 84, 4)" in str(refusal.value)


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.int8])
def test_observations_of_other_integers_are_refused(dtype: type[np.integer]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        build_policy().act(pictures().astype(dtype))


def test_warming_up_changes_no_output() -> None:
    policy = build_policy()
    before = policy.act(pictures())
    policy.warm_up()
    np.testing.assert_array_equal(policy.act(pictures()), before)


def test_weights_that_are_finite_and_overflow_are_refused() -> None:
    actor = build_actor()
    with torch.no_grad():
        for parameter in actor.parameters():
            # Of both signs, or infinity would come out, and be clipped to full lock.
            parameter.copy_(torch.sign(parameter) * 3e38)
    with pytest.raises(BrokenPolicyError, match="not finite"):
        build_policy(actor).warm_up()


def test_a_policy_tells_its_version_its_shape_and_its_manifest() -> None:
    policy = build_policy(version="the-version")
    assert policy.version == policy.manifest.version == "the-version"
    assert policy.observation_shape == (84, 84, 4)


def test_a_policy_that_was_not_published_drives_and_has_no_manifest() -> None:
    published = build_policy(build_actor(seed=3))
    description = PolicyDescription(
        **{name: getattr(published.manifest, name) for name in PolicyDescription.model_fields}
    )
    policy = Policy(description, build_actor(seed=3), version="in-training")
    np.testing.assert_array_equal(policy.act(pictures()), published.act(pictures()))
    with pytest.raises(TypeError, match="in-training"):
        _ = policy.manifest


def with_nan(tensors: Tensors) -> Tensors:
    tensors[LAST_BIAS][0] = torch.nan
    return tensors


def with_integers(tensors: Tensors) -> Tensors:
    return tensors | {LAST_BIAS: tensors[LAST_BIAS].int()}


def with_eight_bit_floats(tensors: Tensors) -> Tensors:
    return tensors | {LAST_BIAS: tensors[LAST_BIAS].to(torch.float8_e4m3fn)}


def with_another_shape(tensors: Tensors) -> Tensors:
    return tensors | {LAST_BIAS: torch.zeros(7)}


def without_a_tensor(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if name != LAST_BIAS}


def with_another_tensor(tensors: Tensors) -> Tensors:
    return tensors | {"critic.bias": torch.zeros(1)}


@pytest.mark.parametrize(
    ("spoil", "culprit"),
    [
        (with_nan, LAST_BIAS),
        (with_integers, LAST_BIAS),
        (with_eight_bit_floats, LAST_BIAS),
        (with_another_shape, LAST_BIAS),
        (without_a_tensor, LAST_BIAS),
        (with_another_tensor, "critic.bias"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(
    spoil: Callable[[Tensors], Tensors], culprit: str
) -> None:
    tensors = spoil(dict(build_actor().state_dict()))
    with pytest.raises(BrokenPolicyError, match=culprit) as refusal:
        load(safetensors.torch.save(tensors))
    assert str(refusal.value).startswith("run-a-000001-")


def pickled() -> bytes:
    buffer = io.BytesIO()
    torch.save(build_actor().state_dict(), buffer)
    return buffer.getvalue()


def of_a_type_that_torch_lacks() -> bytes:
    header = json.dumps({"x": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"\0"


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param(pickled(), id="pickle"),
        pytest.param(weights_to_bytes(build_actor())[:-1], id="cut short"),
        pytest.param(of_a_type_that_torch_lacks(), id="unknown type"),
    ],
)
def test_a_file_that_is_no_safetensors_is_refused(weights: bytes) -> None:
    with pytest.raises(BrokenPolicyError, match=r"policy\.safetensors"):
        load(weights)


@pytest.mark.parametrize("hidden", [9, 10**12], ids=["a little", "larger than memory"])
def test_a_manifest_of_another_network_is_refused(hidden: int) -> None:
    shape = NetworkShape(hidden=hidden)
    with pytest.raises(BrokenPolicyError, match="network"):
        load(weights_to_bytes(build_actor()), shape)


def test_a_policy_can_be_loaded_from_its_folder(
    store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    ref = publish_policy(store)
    folder = Storage.open(store.storage.at(ref.folder))
    from_folder = Policy.from_published(read_policy(folder))
    from_store = Policy.from_published(store.fetch(ref))
    assert from_folder.version == ref.version
    np.testing.assert_array_equal(from_folder.act(pictures()), from_store.act(pictures()))
