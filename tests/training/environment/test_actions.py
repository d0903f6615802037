from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from gymnasium.envs.box2d.car_racing import CarRacing
from numpy.typing import NDArray

from training.environment.actions import (
    CONTROLS_HIGH,
    CONTROLS_LOW,
    ActionFilter,
    ActionMapping,
    MapActions,
    output_count,
    output_space,
    to_controls,
)


def controls(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def filtered_steering(settings: ActionFilter, *steering: float) -> list[float]:
    state = settings.start()
    return [float(state(controls(value, 0.5, 0.25))[0]) for value in steering]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ((0, 0, 0), (0, 0.5, 0.5)),
        ((-1, -1, -1), (-1, 0, 0)),
        ((1, 1, 1), (1, 1, 1)),
        ((0.5, -0.5, 0.25), (0.5, 0.25, 0.625)),
        ((-7, -1.5, 1e30), (-1, 0, 1)),
        ((-np.inf, np.inf, -np.inf), (-1, 1, 0)),
    ],
)
def test_outputs_are_clipped_then_scaled_to_each_control(
    output: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    np.testing.assert_array_equal(to_controls(controls(*output)), controls(*expected))


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ((0.5, 1 / 3), (0, 0, 0)),
        ((0, 1), (-1, 1, 0)),
        ((1, 0), (1, 0, 0.8)),
        ((0.75, 2 / 3), (0.5, 0.5, 0)),
        ((0.25, 1 / 6), (-0.5, 0, 0.4)),
        ((-7, 1e30), (-1, 1, 0)),
        ((np.inf, -np.inf), (1, 0, 0.8)),
    ],
)
def test_steering_and_one_pedal_become_three_controls(
    output: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    mapped = to_controls(controls(*output), "steering_and_pedal")
    np.testing.assert_allclose(mapped, controls(*expected), atol=1e-6)
    assert mapped in CarRacing().action_space


@pytest.mark.parametrize("mapping", get_args(ActionMapping))
def test_a_space_has_as_many_numbers_as_its_mapping_takes(mapping: ActionMapping) -> None:
    space = output_space(mapping)
    assert space.shape == (output_count(mapping),)
    assert to_controls(np.zeros((5, *space.shape), np.float32), mapping).shape == (5, 3)


def test_every_output_becomes_controls_that_the_simulator_takes() -> None:
    space = CarRacing().action_space
    outputs = np.random.default_rng(0).normal(0, 3, (200, 3)).astype(np.float32)
    assert all(row in space for row in to_controls(outputs))


def test_the_bounds_are_the_simulators() -> None:
    space: Any = CarRacing().action_space
    np.testing.assert_array_equal(space.low, CONTROLS_LOW)
    np.testing.assert_array_equal(space.high, CONTROLS_HIGH)


@pytest.mark.parametrize("shape", [(3,), (0, 3), (5, 3), (2, 5, 3)])
def test_mapping_keeps_the_batch_shape(shape: tuple[int, ...]) -> None:
    mapped = to_controls(np.zeros(shape, np.float32))
    assert mapped.shape == shape
    assert mapped.dtype == np.float32


def test_a_batch_is_mapped_row_by_row() -> None:
    outputs = np.random.default_rng(0).normal(0, 1, (8, 3)).astype(np.float32)
    np.testing.assert_array_equal(to_controls(outputs), [to_controls(row) for row in outputs])


def test_mapping_leaves_the_output_alone() -> None:
    output = controls(-3, 0, 3)
    to_controls(output)
    np.testing.assert_array_equal(output, controls(-3, 0, 3))


def test_an_unknown_mapping_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"tanh.*clip_unit_to_bounds"):
        to_controls(controls(0, 0, 0), "tanh")  # type: ignore[arg-type]


def test_the_wrapper_acts_in_network_outputs() -> None:
    env = MapActions(CarRacing())
    assert controls(-40, 0, 40) in env.action_space
    np.testing.assert_array_equal(env.action(controls(-40, 0, 40)), controls(-1, 0.5, 1))


def test_a_filter_without_settings_changes_nothing() -> None:
    driven = np.random.default_rng(0).uniform(CONTROLS_LOW, CONTROLS_HIGH, (50, 3))
    state = ActionFilter().start()
    for row in driven.astype(np.float32):
        np.testing.assert_array_equal(state(row), row)


def test_smoothing_is_an_exponential_average_that_starts_at_the_first_controls() -> None:
    alpha = 0.2
    driven = np.random.default_rng(0).uniform(CONTROLS_LOW, CONTROLS_HIGH, (20, 3))
    state = ActionFilter(smooth_alpha=alpha).start()
    smoothed = [state(row.astype(np.float32)) for row in driven]
    for step in range(20):
        # Each later row has weight alpha when it comes; the first one stands for all before it.
        ages = step - np.arange(1, step + 1)
        expected = (1 - alpha) ** step * driven[0]
        expected = expected + (alpha * (1 - alpha) ** ages) @ driven[1 : step + 1]
        np.testing.assert_allclose(smoothed[step], expected, atol=1e-6)


def test_steering_inside_the_dead_zone_is_none() -> None:
    settings = ActionFilter(steer_deadzone=0.25)
    assert filtered_steering(settings, 0.24, -0.24, 0.25, -0.25) == [0, 0, 0.25, -0.25]


def test_steering_is_clipped_to_either_side() -> None:
    assert filtered_steering(ActionFilter(steer_clip=0.5), 1, -1, 0.5, -0.25) == [
        0.5,
        -0.5,
        0.5,
        -0.25,
    ]


def test_dead_zone_and_clip_do_not_reach_into_the_average() -> None:
    settings = ActionFilter(smooth_alpha=0.5, steer_deadzone=0.25, steer_clip=0.5)
    assert filtered_steering(settings, 0.125, 0.5, 1, 1) == [0, 0.3125, 0.5, 0.5]


def test_gas_and_brake_are_smoothed_only() -> None:
    settings = ActionFilter(smooth_alpha=0.5, steer_deadzone=0.25, steer_clip=0.5)
    state = settings.start()
    state(controls(0, 1, 0.125))
    np.testing.assert_array_equal(state(controls(0, 1, 0)), controls(0, 1, 0.0625))


def test_each_episode_filters_from_its_own_beginning() -> None:
    settings = ActionFilter(smooth_alpha=0.2)
    assert filtered_steering(settings, -1, 1) == filtered_steering(settings, -1, 1)


def test_filtering_leaves_the_controls_alone() -> None:
    given = controls(1, 1, 1)
    state = ActionFilter(smooth_alpha=0.5, steer_clip=0.5).start()
    state(given)
    state(given)
    np.testing.assert_array_equal(given, controls(1, 1, 1))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("smooth_alpha", 0),
        ("smooth_alpha", 1.1),
        ("smooth_alpha", float("nan")),
        ("steer_deadzone", -0.1),
        ("steer_deadzone", 1),
        ("steer_clip", 0),
        ("steer_clip", 2),
    ],
)
def test_a_filter_refuses_settings_out_of_range(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{setting} is {value}"):
        ActionFilter(**{setting: value})
