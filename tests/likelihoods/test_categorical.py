"""The categorical likelihood of pixels: exact sums over gray levels, its maps, and what is refused."""

import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Bernoulli, Categorical
from tests.helpers.likelihoods import assert_exact


@pytest.mark.parametrize("num_bins", [2, 5, 256])
def test_moments_are_exact(num_bins):
    features = torch.randn(7, num_bins).double()
    levels = torch.arange(num_bins).double().unsqueeze(-1) / (num_bins - 1)
    assert_exact(Categorical((1,), num_bins), features, levels)


def test_of_two_levels_it_is_bernoulli():
    logits, x = torch.randn(4, 1, 2, 3), torch.randint(2, (4, 1, 2, 3)).float()
    features = torch.cat([torch.zeros_like(logits), logits], 1)
    p = Categorical((1, 2, 3), num_bins=2)(features)
    torch.testing.assert_close(p.log_prob(x), Bernoulli()(logits).log_prob(x))
    torch.testing.assert_close(p.mean, logits.sigmoid())


def test_each_gray_level_has_a_map_of_each_channel():
    likelihood = Categorical((3, 2, 2), num_bins=5)
    features = torch.full((1, 15, 2, 2), -30.0)
    features[:, 3 * 2 + 1] = 30.0  # level 2 of channel 1
    assert likelihood.mean(features)[0, 1].eq(0.5).all()


@pytest.mark.parametrize("value", [0.5, 1.5, -1.0])
def test_what_is_no_gray_level_is_refused(value):
    with pytest.raises(InputError, match=rf"Categorical\(num_bins=256\) needs .* x holds {value:.4g}: .*dequantize"):
        Categorical((1,)).check(torch.tensor([[value]]))
    with pytest.raises(InputError, match="num_bins is 1: expected the number of gray levels"):
        Categorical((1,), num_bins=1)
