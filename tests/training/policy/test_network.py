from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from training.policy.network import (
    Actor,
    ConvLayer,
    Critic,
    Encoder,
    NetworkShape,
    initialize_orthogonally,
    same_padding,
)

PUBLISHED = NetworkShape()


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def observations(number: int = 2) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (number, 84, 84, 4), np.uint8)


def convolve_same(
    picture: NDArray[np.float64],
    kernel: NDArray[np.float64],
    bias: NDArray[np.float64],
    stride: int,
) -> NDArray[np.float64]:
    """One convolution as TensorFlow pads it, a spare zero going to the right and the bottom."""
    size, width = picture.shape[-1], kernel.shape[-1]
    out = math.ceil(size / stride)
    spare = max((out - 1) * stride + width - size, 0)
    edges = (spare // 2, spare - spare // 2)
    padded = np.pad(picture, ((0, 0), edges, edges))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (width, width), axis=(1, 2))
    result: NDArray[np.float64] = np.einsum(
        "cyxij,fcij->fyx", windows[:, ::stride, ::stride], kernel
    )
    return result + bias[:, None, None]


def test_the_published_encoder_has_7744_features() -> None:
    assert Encoder(PUBLISHED, size=84, stack=4).features == 7744


def test_same_padding_matches_an_explicit_reference() -> None:
    torch.manual_seed(0)
    actor = Actor(PUBLISHED, size=84, stack=4)
    picture = observations(1)
    expected = np.moveaxis(picture[0], -1, 0) / 255
    sizes = []
    convolutions = [layer for layer in actor.encoder if isinstance(layer, nn.Conv2d)]
    for layer, stride in zip(convolutions, (4, 2, 1), strict=True):
        assert layer.bias is not None
        kernel, bias = (t.detach().double().numpy() for t in (layer.weight, layer.bias))
        expected = np.maximum(convolve_same(expected, kernel, bias, stride), 0)
        sizes.append(expected.shape[-1])
    assert sizes == [21, 11, 11]
    features = actor.encoder(torch.from_numpy(picture).permute(0, 3, 1, 2).float() / 255)
    np.testing.assert_allclose(features[0].detach().numpy(), expected.ravel(), atol=1e-5)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (84, 8, 4, (2, 2)),
        (21, 4, 2, (1, 2)),
        (11, 3, 1, (1, 1)),
        (8, 2, 2, (0, 0)),
        (5, 2, 1, (0, 1)),
        (1, 3, 1, (1, 1)),
    ],
)
def test_same_padding_puts_the_spare_zero_last(
    size: int, kernel: int, stride: int, expected: tuple[int, int]
) -> None:
    assert same_padding(size, kernel, stride) == expected


@pytest.mark.parametrize("network", [Actor, Critic])
def test_bytes_and_scaled_floats_give_the_same_output(
    network: type[Actor] | type[Critic],
) -> None:
    built = network(PUBLISHED, size=84, stack=4)
    pixels = observations()
    scaled = pixels.astype(np.float32) / 255
    with torch.inference_mode():
        assert torch.equal(built(torch.from_numpy(pixels)), built(torch.from_numpy(scaled)))


def test_an_actor_answers_six_numbers_and_a_critic_one() -> None:
    batch = torch.from_numpy(observations(3))
    with torch.inference_mode():
        assert Actor(PUBLISHED, size=84, stack=4)(batch).shape == (3, 6)
        assert Critic(PUBLISHED, size=84, stack=4)(batch).shape == (3, 1)


def test_a_batch_is_answered_row_by_row() -> None:
    actor = Actor(PUBLISHED, size=84, stack=4)
    batch = torch.from_numpy(observations(3))
    with torch.inference_mode():
        rows = torch.cat([actor(batch[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(actor(batch), rows)


def test_the_published_networks_have_these_parameters() -> None:
    convolutions = 32 * (8 * 8 * 4 + 1) + 64 * (4 * 4 * 32 + 1) + 64 * (3 * 3 * 64 + 1)
    hidden = 256 * (7744 + 1)
    assert count(Actor(PUBLISHED, size=84, stack=4)) == convolutions + hidden + 6 * (256 + 1)
    assert count(Critic(PUBLISHED, size=84, stack=4)) == convolutions + hidden + 256 + 1


def test_actor_and_critic_have_encoders_of_their_own() -> None:
    actor, critic = Actor(PUBLISHED, size=84, stack=4), Critic(PUBLISHED, size=84, stack=4)
    before = critic(torch.from_numpy(observations()))
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.zero_()
    assert torch.equal(critic(torch.from_numpy(observations())), before)


def test_another_shape_can_be_built() -> None:
    shape = NetworkShape(convolutions=(ConvLayer(3, 5, 3), ConvLayer(2, 2, 1)), hidden=7)
    actor = Actor(shape, size=10, stack=2)
    assert actor.encoder.features == 2 * 4 * 4
    assert actor(torch.zeros(1, 10, 10, 2)).shape == (1, 6)


VALID = NetworkShape(
    convolutions=(ConvLayer(16, 8, 4), ConvLayer(32, 4, 2), ConvLayer(32, 3, 1)), padding="valid"
)


def test_without_padding_a_layer_looks_only_where_it_fits() -> None:
    assert Encoder(VALID, size=84, stack=4).features == 32 * 7 * 7
    sizes = []
    features = torch.zeros(1, 4, 84, 84)
    for layer in Encoder(VALID, size=84, stack=4):
        features = layer(features)
        if isinstance(layer, nn.Conv2d):
            sizes.append(features.shape[-1])
    assert sizes == [20, 9, 7]


def test_a_kernel_larger_than_what_reaches_it_is_refused() -> None:
    shape = dataclasses.replace(VALID, convolutions=(ConvLayer(4, 8, 4), ConvLayer(4, 3, 1)))
    with pytest.raises(ValueError, match=r"kernel=3.* does not fit into the 2 pixels"):
        Encoder(shape, size=12, stack=1)


def test_an_actor_answers_two_parameters_for_each_number_of_an_action() -> None:
    batch = torch.from_numpy(observations(3))
    with torch.inference_mode():
        assert Actor(VALID, size=84, stack=4, actions=2)(batch).shape == (3, 4)


def test_the_outputs_are_decided_from_the_embedding() -> None:
    actor = Actor(VALID, size=84, stack=4)
    batch = torch.from_numpy(observations(3))
    with torch.inference_mode():
        embedding = actor.embed(batch)
        assert embedding.shape == (3, 256)
        assert embedding.min() >= 0
        assert torch.equal(actor.decide(embedding), actor(batch))


def test_orthogonal_weights_keep_lengths_up_to_their_gain() -> None:
    torch.manual_seed(0)
    actor = Actor(VALID, size=84, stack=4)
    initialize_orthogonally(actor, last_gain=0.01)
    layers = [m for m in actor.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    gains = [math.sqrt(2)] * (len(layers) - 1) + [0.01]
    for layer, gain in zip(layers, gains, strict=True):
        rows = layer.weight.detach().flatten(1)
        small = rows @ rows.T if rows.shape[0] <= rows.shape[1] else rows.T @ rows
        torch.testing.assert_close(small, gain**2 * torch.eye(len(small)), atol=1e-5, rtol=0)
        assert layer.bias is not None
        assert not layer.bias.any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"convolutions": ()}, "convolutions is empty; it must hold at least one layer"),
        ({"convolutions": (ConvLayer(0, 3, 1),)}, "filters=0.* has a number below 1"),
        ({"convolutions": (ConvLayer(8, 3, 0),)}, "stride=0.* has a number below 1"),
        ({"convolutions": (ConvLayer(8, 2, 3),)}, "skips pixels: its kernel is smaller"),
        ({"hidden": 0}, "hidden is 0; it must be at least 1"),
    ],
)
def test_a_shape_that_cannot_be_built_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkShape(**changes)  # type: ignore[arg-type]
