"""Independent values of which some are missing: density, gradient and broadcasting."""

import pyro.distributions as dist
import torch

from pyro_vaes.distributions.partially_observed import PartiallyObserved


def test_the_density_is_the_sum_over_what_was_seen():
    base = dist.Normal(torch.randn(3, 4, 5), 0.7)
    x, seen = torch.randn(4, 5), torch.rand(4, 5) < 0.5
    expected = torch.where(seen, base.log_prob(x), 0).sum(-1)
    p = PartiallyObserved(base, 1)
    assert (p.batch_shape, p.event_shape) == ((3, 4), (5,))
    torch.testing.assert_close(p.log_prob(torch.where(seen, x, torch.nan)), expected)
    torch.testing.assert_close(p.log_prob(x), dist.Independent(base, 1).log_prob(x))


def test_gradients_are_finite_where_0_is_no_value():
    """The neutral value has a density and a gradient, which 0 has not."""
    rate = torch.ones(3, requires_grad=True)
    p = PartiallyObserved(dist.Gamma(2.0, rate), 1, neutral=1.0)
    p.log_prob(torch.tensor([1.0, torch.nan, 2.0])).backward()
    torch.testing.assert_close(rate.grad, torch.tensor([1.0, 0.0, 0.0]))  # 2 / rate - x where x was seen


def test_it_broadcasts_and_draws_all_values():
    p = PartiallyObserved(dist.Exponential(torch.ones(2, 3)), 1, neutral=1.0)
    wide = p.expand((4, 2))
    assert (wide.batch_shape, wide.event_shape, wide.neutral) == ((4, 2), (3,), 1.0)
    assert wide.sample().isfinite().all()
    x = torch.tensor([1.0, torch.nan, 1.0])
    torch.testing.assert_close(wide.log_prob(x), torch.full((4, 2), -2.0))
