"""AudioLDM's path over the noise levels, and values that make none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiojax.errors import UsageError
from audiojax.papers.re_audioldm.settings import FEW_STEPS, MOST_STEPS, SAMPLERS, Sampling, reaches_noise
from audiojax.schedule import make_schedule


def test_the_schedule_has_the_numbers_of_the_public_code():
    schedule = make_schedule("scaled_linear", 1000)
    want = {0: 0.9985, 1: 0.996994, 499: 0.115844, 998: 1.4513e-4, 999: 1.4230e-4}
    np.testing.assert_allclose([schedule.alpha_bar[i] for i in want], list(want.values()), rtol=5e-5)
    np.testing.assert_allclose(schedule.beta[np.array([0, 1, 999])], [0.0015, 0.00150783, 0.0195], rtol=5e-6)


def test_timesteps_are_leading_with_offset_1_and_end_at_the_first_level():
    np.testing.assert_array_equal(Sampling(steps=10).grid(), [*range(901, 0, -100), 0])
    np.testing.assert_array_equal(Sampling(steps=200).grid(), [*range(996, 0, -5), 0])


@given(
    st.sampled_from(SAMPLERS), st.integers(1, MOST_STEPS).filter(lambda steps: steps <= FEW_STEPS or reaches_noise(steps)), st.floats(0, 1)
)
def test_a_strength_walks_its_share_of_the_end_of_the_path(sampler, steps, strength):
    whole, part = Sampling(sampler, steps).grid(), Sampling(sampler, steps, strength=strength).grid()
    assert len(whole) == steps + 1
    np.testing.assert_array_equal(part, whole[-len(part) :])
    assert abs(len(part) - 1 - strength * steps) <= 0.5 or len(part) == 2
    assert (len(part) == 1) == (strength == 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampler": "euler"}, "sampler is 'euler'; there are ddim, dpm[+][+], ddpm"),
        ({"steps": 0}, "steps is 0; a whole number from 1 to 500"),
        ({"steps": 501}, "steps is 501"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"steps": 400}, "steps is 400: the path would begin at noise level 799 of 1000, far from pure noise; take 426"),
        ({"steps": 251}, "noise level 751 of 1000, far from pure noise; take 250"),
        ({"eta": -0.1}, "eta is -0.1; a number from 0 to 1"),
        ({"strength": float("nan")}, "strength is nan"),
    ],
)
def test_values_that_make_no_path_are_named(options, words):
    with pytest.raises(UsageError, match=words):
        Sampling(**options)


def test_a_reference_may_be_walked_from_by_any_number_of_steps():
    """Such a path is to begin far from noise."""
    assert Sampling(steps=350, strength=0.3).grid()[0] == 1 + 104 * 2
