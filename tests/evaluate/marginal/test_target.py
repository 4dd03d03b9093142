"""The marginal log-likelihood of the library's models: clusters, hierarchies, ladders, flows and PixelCNN."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from pyro_vaes import VAE, models
from pyro_vaes.evaluate import marginal_log_likelihood
from pyro_vaes.evaluate.marginal.target import ModelTarget
from pyro_vaes.evaluate.marginal.traced import TracedTarget
from pyro_vaes.likelihoods import Gaussian, PixelCNN, Poisson
from pyro_vaes.networks import LadderMLPDecoder, LadderMLPEncoder, MLPDecoder, MLPEncoder
from pyro_vaes.priors import AutoregressiveFlow, GaussianMixture, StandardNormal
from tests.helpers.quadrature import EXACT, assert_equals, quadrature


def test_the_librarys_densities_are_those_of_its_traces(digits):
    vae, _, x = digits
    fast, traced = ModelTarget(vae, x), TracedTarget(vae, x)
    z = fast.prior_draws(6)
    assert traced.sizes == fast.sizes
    for mine, expected in zip(fast.values(z), traced.values(z), strict=True):
        torch.testing.assert_close(mine, expected)


def test_mixture_model_sums_its_clusters_out(linear):
    prior = GaussianMixture(3, components=2).double()
    with torch.no_grad():
        prior.locs.mul_(2)
        prior.logits.copy_(torch.tensor([0.3, -0.5]))
    model = models.MixtureVAE(linear.vae.decoder, prior, linear.vae.likelihood)
    weight, noise = linear.weight, linear.scale**2 * torch.eye(8).double()
    covariances = [weight @ scale.exp().square().diag() @ weight.T + noise for scale in prior.log_scales]
    components = MultivariateNormal(prior.locs @ weight.T + linear.bias, torch.stack(covariances))
    log_probs = components.log_prob(linear.x.flatten(1).unsqueeze(1)) + prior.logits.log_softmax(0)
    assert_equals(marginal_log_likelihood(model, linear.x), log_probs.logsumexp(1))
    guide = models.MixtureGuide(model, linear.encoder).double()
    assert_equals(marginal_log_likelihood(model, linear.x, guide), log_probs.logsumexp(1))


def linear_hierarchy():
    """z2 ~ N(0, I), z1 ~ N(A z2 + a, diag s²), x ~ N(B z1 + b, σ² I), and its evidence."""
    torch.manual_seed(3)
    network = nn.Identity()
    network.out_features = 3
    conditional = models.ConditionalNormal(network, size=2)
    decoder = MLPDecoder(2, (4,), hidden=())
    with torch.no_grad():
        conditional.head.weight[2:] = 0.0
        conditional.head.weight[:2].normal_()
        decoder[0].weight.normal_()
    model = models.HierarchicalVAE(decoder, StandardNormal(3), [conditional], Gaussian(0.5)).double()
    a, b = conditional.head.weight[:2].detach(), decoder[0].weight.detach()
    below = conditional(torch.zeros(3).double())
    covariance = b @ (a @ a.T + below.variance.diag()) @ b.T + model.likelihood.log_scale.exp() ** 2 * torch.eye(4)
    return model, MultivariateNormal(below.mean @ b.T + decoder[0].bias, covariance)


def test_hierarchy_of_normals_is_exact():
    model, evidence = linear_hierarchy()
    x = model.sample(4)
    encoders = [MLPEncoder((4,), hidden=(5,)), MLPEncoder((2,), hidden=(5,))]
    top_down = models.TopDownGuide(model, LadderMLPEncoder((4,), hidden=((5,), (5,)))).double()
    for guide in (None, models.HierarchicalGuide(model, encoders).double(), top_down):
        result = marginal_log_likelihood(model, x, guide)
        torch.testing.assert_close(result.per_datum, evidence.log_prob(x).detach(), rtol=0, atol=EXACT)


def ladder(priors, **options):
    torch.manual_seed(1)
    decoder = LadderMLPDecoder((1, 1), (4,), hidden=((6,), (6,)))
    kind = models.LadderMixtureVAE if any(isinstance(each, GaussianMixture) for each in priors) else models.LadderVAE
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(2)
    return kind(decoder, priors, Gaussian(0.5), **options).double()


LADDERS = {
    "ladder": lambda: ladder([StandardNormal(1), StandardNormal(1)]),
    "mixture": lambda: ladder([StandardNormal(1), GaussianMixture(1, components=3)]),
    "clusters": lambda: ladder([StandardNormal(1), GaussianMixture(1, components=3)], cluster_sites=["y2"]),
}


@pytest.mark.parametrize("name", LADDERS)
def test_ladders_equal_the_grid(name):
    model = LADDERS[name]()
    x = model.sample(4)
    axis = torch.linspace(-7, 7, 701).double()
    first, second = (each.view(-1, 1, 1).expand(-1, 4, 1) for each in torch.cartesian_prod(axis, axis).unbind(-1))
    with torch.no_grad():
        expected = model.log_joint(x, first, second).logsumexp(0) + 2 * math.log(0.02)
    kind = models.LadderMixtureGuide if name != "ladder" else models.LadderGuide
    for guide in (None, kind(model, LadderMLPEncoder((4,), hidden=((5,), (5,)))).double()):
        assert_equals(marginal_log_likelihood(model, x, guide), expected)


def test_nonlinear_hierarchy_equals_the_grid():
    torch.manual_seed(2)
    conditional = models.ConditionalNormal(MLPEncoder((1,), hidden=(6,)), size=1)
    model = models.HierarchicalVAE(MLPDecoder(1, (3,), hidden=(6,)), StandardNormal(1), [conditional], Poisson())
    model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    x = model.sample(4)
    axis = torch.linspace(-9, 9, 901).double()
    low, high = (each.view(-1, 1, 1).expand(-1, 4, 1) for each in torch.cartesian_prod(axis, axis).unbind(-1))
    with torch.no_grad():
        expected = model.log_joint(x, low, high).logsumexp(0) + 2 * math.log(0.02)
    assert_equals(marginal_log_likelihood(model, x), expected)


def test_flow_priors_count():
    torch.manual_seed(0)
    vae = VAE(MLPDecoder(2, (3,), hidden=()), AutoregressiveFlow(2, flows=1, hidden=(4,)), Gaussian(0.5)).double()
    x = vae.sample(3)
    axis = torch.linspace(-9, 9, 451).double()
    with torch.no_grad():
        grid = vae.log_joint(x, torch.cartesian_prod(axis, axis).unsqueeze(1).expand(-1, 3, 2))
    assert_equals(marginal_log_likelihood(vae, x), grid.logsumexp(0) + 2 * math.log(18 / 450))


PIXELS = {"window": (3, 2), "layers": 2, "channels": 4}


def test_pixelcnn_equals_the_grid():
    torch.manual_seed(0)
    decoder = MLPDecoder(1, (2, 4, 4), hidden=(8,))
    with torch.no_grad():
        decoder[0].weight.mul_(4)
        decoder[2].weight.mul_(4)
    model = VAE(decoder, StandardNormal(1), PixelCNN((1, 4, 4), features=2, **PIXELS)).double()
    assert not ModelTarget(model, torch.zeros(1, 1, 4, 4)).has_precision
    x = model.sample(4)
    assert_equals(marginal_log_likelihood(model, x), quadrature(model, x, reach=8.0, points=1001))
