"""A prior fitted to the aggregated posterior: closed forms of a linear-Gaussian model, and what is refused."""

import pytest
import torch
from pyro.distributions.transforms import spline

from pyro_vaes import VAE
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import fit_prior, marginal_log_likelihood
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.models import ConditionalNormal, HierarchicalGuide, HierarchicalVAE
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import AutoregressiveFlow, FlowPrior, GaussianMixture, StandardNormal, VampPrior
from tests.helpers.linear_gaussian import LinearGaussian, optimal_mean_field

CENTERS = (-3.0, 3.0)


class TwoClusters(LinearGaussian):
    """A model of one latent under N(0, 1) whose data come from two clusters of the latent."""

    def __init__(self, size=400):
        super().__init__(latent_dim=1, event_shape=(4,), scale=0.4, batch=2)
        z = torch.tensor(CENTERS).double().repeat(size // 2).unsqueeze(-1) + 0.3 * torch.randn(size, 1).double()
        self.x = (z @ self.weight.T + self.bias) + self.scale * torch.randn(size, 4).double()


@pytest.fixture
def clusters():
    return TwoClusters()


def test_one_normal_has_the_moments_of_the_aggregated_posterior(clusters):
    """The aggregated posterior has the mean of the posterior means, and their variance and that of each posterior."""
    guide, prior = optimal_mean_field(clusters), GaussianMixture(1, components=1)
    fitted = fit_prior(prior, clusters.vae, guide, clusters.x, epochs=150, batch_size=400, lr=0.05, num_samples=200)
    means = clusters.mean[:, 0]
    variance = means.var() + clusters.covariance[0, 0]
    held_out = (variance / 40).sqrt()  # of 400 data 40 are left out
    assert abs(fitted.model.prior.locs.item() - means.mean()) < 0.5 * held_out
    assert fitted.model.prior.log_scales.exp().item() == pytest.approx(variance.sqrt().item(), rel=0.05)
    assert fitted.model.prior is prior


def test_a_mixture_recovers_two_clusters_and_raises_log_p(clusters):
    guide = optimal_mean_field(clusters)
    fitted = fit_prior(GaussianMixture(1, components=2), clusters.vae, guide, clusters.x, lr=0.05, epochs=100)
    prior = fitted.model.prior.double()
    order = prior.locs[:, 0].argsort()
    means = torch.stack([clusters.mean[::2].mean(), clusters.mean[1::2].mean()])
    torch.testing.assert_close(prior.locs[order, 0].detach(), means, rtol=0, atol=0.1)
    torch.testing.assert_close(prior.logits.softmax(0).detach(), torch.full((2,), 0.5).double(), rtol=0, atol=0.05)
    noise = clusters.scale**2 * torch.eye(4).double()
    of_component = [
        torch.distributions.MultivariateNormal(
            clusters.bias + clusters.weight @ loc,
            noise + clusters.weight @ torch.diag((2 * log_scale).exp()) @ clusters.weight.T,
        ).log_prob(clusters.x[:20])
        for loc, log_scale in zip(prior.locs, prior.log_scales, strict=True)
    ]
    exact = (torch.stack(of_component) + prior.logits.log_softmax(0).unsqueeze(-1)).logsumexp(0).detach()
    estimate = marginal_log_likelihood(fitted.model, clusters.x[:20], fitted.guide, 500)
    assert ((estimate.per_datum - exact).abs() < 5 * estimate.per_datum_stderr + 1e-6).all()
    assert (estimate.per_datum - clusters.log_evidence[:20]).mean() > 1


@pytest.mark.parametrize("make", [lambda: AutoregressiveFlow(3, flows=2, hidden=(8,)), lambda: FlowPrior(3, spline(3))])
def test_the_gain_is_the_rise_of_the_elbo_and_nothing_else_moves(make):
    linear = LinearGaussian(batch=300)
    guide = optimal_mean_field(linear)
    before = {name: value.clone() for name, value in linear.vae.state_dict().items()}
    fitted = fit_prior(make(), linear.vae, guide, linear.x, epochs=3, num_samples=20)
    assert len(fitted.history) == 4
    assert fitted.guide.vae is fitted.model
    assert fitted.model.prior is not linear.vae.prior
    torch.testing.assert_close(linear.vae.state_dict(), before, rtol=0, atol=0)
    bounds, rises = [], []
    with torch.no_grad():
        for model, its_guide in ((linear.vae, guide), (fitted.model, fitted.guide)):
            torch.manual_seed(1)
            z = its_guide.posterior(linear.x).sample((50,))
            rises.append(model.prior().log_prob(z).mean(0))
            torch.manual_seed(1)
            bounds.append((model.log_joint(linear.x, z) - its_guide.posterior(linear.x).log_prob(z)).mean(0))
    rise = rises[1] - rises[0]
    torch.testing.assert_close(bounds[1] - bounds[0], rise)
    held_out = 30  # tenth of the data
    assert abs(rise.mean() - fitted.gain) < 5 * rise.std() * (1 / held_out + 1 / 300) ** 0.5


def test_the_seed_fixes_the_fit_and_random_state_is_kept(clusters):
    guide = optimal_mean_field(clusters)
    priors = [two() for _ in range(3)]
    before = torch.get_rng_state()
    fits = [
        fit_prior(prior, clusters.vae, guide, clusters.x, epochs=2, seed=seed)
        for prior, seed in zip(priors, (1, 1, 2), strict=True)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert fits[0].history == fits[1].history != fits[2].history


def two():
    """A mixture of the same first weights each time."""
    prior = GaussianMixture(1, components=2)
    prior.locs.data = torch.tensor([[-1.0], [1.0]])
    return prior


def hierarchy():
    conditional = ConditionalNormal(MLPEncoder((3,), hidden=(4,)), size=2)
    model = HierarchicalVAE(MLPDecoder(2, (5,), hidden=(4,)), StandardNormal(3), [conditional], Gaussian())
    return model, HierarchicalGuide(model, [MLPEncoder((5,), hidden=(4,)), MLPEncoder((2,), hidden=(4,))])


def pair():
    model = VAE(MLPDecoder(2, (5,), hidden=(4,)), StandardNormal(2), Gaussian())
    return model, MeanField(model, MLPEncoder((5,), hidden=(4,)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"prior": GaussianMixture(3)},
            "GaussianMixture has 3 latent dimensions, the model 2: give one of latent_dim=2",
        ),
        ({"prior": StandardNormal(2)}, "StandardNormal has no weights to fit"),
        ({"prior": VampPrior(2)}, "VampPrior is made of the guide's posteriors: train it with its model"),
        ({"prior": torch.nn.Linear(2, 2)}, r"prior is a Linear: give one of pyro_vaes.priors, such as GaussianMixture"),
        ({"model": pair()[0]}, r"the guide belongs to another model: give the model that it was built on"),
        (dict(zip(("model", "guide"), hierarchy(), strict=True)), "model and guide are HierarchicalVAE and Hier"),
        ({"x": torch.zeros(19, 5)}, "x holds 19 observations: give 20 or more"),
        ({"x": torch.zeros(30, 4)}, r"the data have the shape \(4,\)"),
        ({"epochs": 0}, "epochs is 0"),
        ({"num_samples": 0}, "num_samples is 0"),
        ({"lr": -1.0}, "lr is -1.0: expected a positive number"),
        ({"seed": 0.5}, "seed is 0.5"),
    ],
)
def test_what_is_refused(options, words):
    model, guide = pair()
    given = {"prior": GaussianMixture(2), "model": model, "guide": guide, "x": torch.zeros(30, 5)}
    with pytest.raises(InputError, match=words):
        fit_prior(**(given | options))
