"""Diagnostics of chains against their definitions."""

import pytest
import torch
from pyro.ops.stats import effective_sample_size, split_gelman_rubin

from pyro_vaes.evaluate.chains import effective_samples, r_hat
from pyro_vaes.evaluate.nuts_reference import ReferencePosterior


@pytest.mark.parametrize("change", [lambda z: z + 0.5, lambda z: 1.5 * z], ids=["location", "spread"])
def test_r_hat_sees_a_chain_that_differs(change):
    draws = torch.randn(4, 500, 2)
    draws[0, :, 0] = change(draws[0, :, 0])
    found = r_hat(draws)
    assert found[0] > 1.01
    assert found[1] < 1.01
    shown = ReferencePosterior(draws.unsqueeze(2), torch.stack([found, found * 0 + 1]), draws[0, :2], {"z": 2})
    assert shown.reliable == 0.5


def test_r_hat_is_that_of_its_definition():
    """The larger of the split R-hats of normal scores, of draws and of their distance from the median."""
    draws = torch.randn(4, 500, 2).cumsum(1) + torch.randn(4, 500, 2)
    pooled = draws.flatten(0, 1)
    expected = []
    for values in (pooled, (pooled - pooled.quantile(0.5, 0)).abs()):
        ranks = 1 + values.argsort(0).argsort(0)
        scores = torch.special.ndtri((ranks - 3 / 8) / (len(pooled) + 1 / 4))
        expected.append(split_gelman_rubin(scores.view_as(draws)))
    torch.testing.assert_close(r_hat(draws), torch.maximum(*expected), rtol=1e-4, atol=0)
    assert r_hat(draws[:1]).isnan().all()


def test_effective_draws_are_those_of_the_slower_moment_and_at_most_all():
    draws = torch.randn(4, 500, 1)
    alternating = draws.abs() * torch.tensor([1.0, -1.0]).repeat(250).unsqueeze(-1)  # its mean is known very well
    assert not 0 < effective_sample_size(alternating) < 4000
    assert effective_samples(draws) == pytest.approx(2000, rel=0.2)
    assert effective_samples(alternating) == pytest.approx(2000, rel=0.2)
    slow = draws.abs() * torch.tensor([1.0] * 50 + [3.0] * 50).repeat(5).unsqueeze(-1)  # in spread alone
    assert effective_samples(slow * draws.sign()) < 700 < effective_sample_size(slow * draws.sign())
    assert effective_samples(torch.zeros(4, 500, 1)).isnan()
