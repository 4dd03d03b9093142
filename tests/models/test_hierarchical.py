"""Stacked hierarchies against a linear one, whose posterior has a closed form."""

import pyro.distributions as dist
import pytest
import torch

from pyro_vaes.evaluate import log_weights
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.losses import ELBO, IWAE
from pyro_vaes.models import ConditionalNormal, HierarchicalGuide, HierarchicalVAE, TopDownGuide
from pyro_vaes.networks import MLPDecoder
from pyro_vaes.priors import StandardNormal
from tests.helpers.hierarchies import BATCH, Fixed, set_linear


class LinearHierarchy:
    """z₂ ~ N(0, I), z₁ ~ N(A z₂, S), x ~ N(z₁, σ²) with all matrices diagonal: the posterior is in closed form."""

    def __init__(self):
        self.slope = torch.tensor([1.5, -0.7]).double()
        self.variance = torch.tensor([0.6, 1.3]).double()
        decoder = MLPDecoder(2, (2,), hidden=())
        conditional = ConditionalNormal(Fixed(2), 2)
        self.model = HierarchicalVAE(decoder, StandardNormal(2), [conditional], Gaussian(0.5, learn=False)).double()
        with torch.no_grad():
            decoder[0].weight.copy_(torch.eye(2))
        set_linear(conditional.head, self.slope.diag(), self.variance.sqrt())
        self.noise = (2 * self.model.likelihood.log_scale).exp()
        self.x = torch.randn(BATCH, 2).double()

    @property
    def log_evidence(self):
        variance = self.slope**2 + self.variance + self.noise
        return dist.Normal(torch.zeros_like(variance), variance.sqrt()).to_event(1).log_prob(self.x)

    def exact(self, guide):
        """The exact posterior, by the guide's own factors."""
        seen = 1 / (self.slope**2 / (self.variance + self.noise) + 1)  # variance of z₂ given x
        gain = seen * self.slope / (self.variance + self.noise)
        if guide is TopDownGuide:
            guide = TopDownGuide(self.model, Fixed(2, levels=2)).double()
            set_linear(guide.heads[0], torch.eye(2), self.noise.sqrt().expand(2))
            set_linear(guide.heads[1], gain.diag(), seen.sqrt())
            return guide
        guide = HierarchicalGuide(self.model, [Fixed(2), Fixed(2)]).double()
        prior = self.slope**2 + self.variance
        below = 1 / (1 / prior + 1 / self.noise)
        above = 1 / (self.slope**2 / self.variance + 1)
        set_linear(guide.conditionals[0].head, (below / self.noise).diag(), below.sqrt())
        set_linear(guide.conditionals[1].head, (above * self.slope / self.variance).diag(), above.sqrt())
        return guide


hierarchical_guides = pytest.mark.parametrize("kind", [TopDownGuide, HierarchicalGuide])


@hierarchical_guides
def test_the_exact_posterior_has_no_gap(kind):
    linear = LinearHierarchy()
    guide = linear.exact(kind)
    weights = log_weights(linear.model, guide, linear.x, num_samples=7)
    torch.testing.assert_close(weights, linear.log_evidence.expand(7, -1), rtol=0, atol=1e-6)
    objective, terms = ELBO(num_particles=4000).objective(linear.model, guide, linear.x)
    torch.testing.assert_close(objective, linear.log_evidence, rtol=0, atol=0.1)
    torch.testing.assert_close(terms["kl"], terms["kl_z1"] + terms["kl_z2"])


def test_no_closed_form_where_the_orders_differ():
    """KL(q(z₁|x) ‖ p(z₁|z₂)) is no expectation where z₂ came from z₁: only log q - log p at the draw is right."""
    linear = LinearHierarchy()
    objective = ELBO().objective(linear.model, linear.exact(HierarchicalGuide), linear.x)[0]
    torch.testing.assert_close(objective, linear.log_evidence, rtol=0, atol=1e-6)


@hierarchical_guides
@pytest.mark.parametrize("loss", [ELBO(sticking_the_landing=True), IWAE(num_particles=3, dreg=True)])
def test_no_noise_is_left_in_the_gradient_at_the_exact_posterior(kind, loss):
    linear = LinearHierarchy()
    guide = linear.exact(kind)
    torch.testing.assert_close(loss.objective(linear.model, guide, linear.x)[0], linear.log_evidence)
    value = loss.differentiable_loss(linear.model, guide, linear.x)
    gradients = torch.autograd.grad(value, [*guide.parameters()])
    assert max(gradient.abs().max() for gradient in gradients) < 1e-6
