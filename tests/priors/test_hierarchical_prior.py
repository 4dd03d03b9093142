"""The two-level prior: the density of both levels, the model of two sites that it is, and what is refused."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vaes import VAE
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import marginal_log_likelihood
from pyro_vaes.guides import FullCovariance, Laplace
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.losses import ELBO
from pyro_vaes.models import HierarchicalVAE
from pyro_vaes.networks import LastCoordinates, MLPDecoder, MLPEncoder
from pyro_vaes.priors import HierarchicalPrior, StandardNormal
from pyro_vaes.recipes import Settings, build_seeded, vae

UPPER, LOWER, SHAPE = 2, 3, (6,)


class Conditional(nn.Module):
    """p(y | u) of the prior, as the conditional of a model of two sites."""

    size = LOWER

    def __init__(self, prior):
        super().__init__()
        self.network = prior.transforms[0].nn

    def forward(self, u):
        mean, log_scale = self.network(u)
        return dist.Normal(mean, log_scale.exp()).to_event(1)


@pytest.fixture
def prior():
    made = HierarchicalPrior(UPPER + LOWER, upper_dim=UPPER, hidden=(8,)).double()
    for p in made.parameters():
        nn.init.normal_(p, std=0.4)
    return made


@pytest.fixture
def models(prior):
    """A model of one latent of both levels, and the same model with a site for each."""
    decoder, likelihood = MLPDecoder(LOWER, SHAPE, hidden=(8,)), Gaussian(0.5)
    one = VAE(LastCoordinates(decoder, LOWER), prior, likelihood).double()
    return one, HierarchicalVAE(decoder, StandardNormal(UPPER), [Conditional(prior)], likelihood).double()


def test_density_is_that_of_both_levels(prior):
    u, y = torch.randn(7, UPPER).double(), torch.randn(7, LOWER).double()
    expected = StandardNormal(UPPER).double()().log_prob(u) + Conditional(prior)(u).log_prob(y)
    torch.testing.assert_close(prior().log_prob(torch.cat([u, y], -1)), expected)


def test_it_is_the_model_of_two_sites(models):
    one, two = models
    u, y, x = (torch.randn(7, size).double() for size in (UPPER, LOWER, *SHAPE))
    torch.testing.assert_close(one.log_joint(x, torch.cat([u, y], -1)), two.log_joint(x, y, u))


def test_both_have_the_same_log_p(models):
    x = models[0].sample(3)
    first, second = (marginal_log_likelihood(model, x, num_samples=2000) for model in models)
    error = (first.per_datum_stderr.square() + second.per_datum_stderr.square()).sqrt()
    assert ((first.per_datum - second.per_datum).abs() < 5 * error).all()
    assert error.max() < 0.1


@pytest.mark.parametrize("guide", [FullCovariance, Laplace])
def test_guides_cover_both_levels(models, guide):
    q = guide(models[0], MLPEncoder(SHAPE, hidden=(8,)).double()).double()
    x = models[0].sample(4)
    assert q.posterior(x).event_shape == (UPPER + LOWER,)
    ELBO().objective(models[0], q, x)[0].sum().backward()
    for name, p in models[0].prior.named_parameters():
        assert p.grad.isfinite().all(), name
        assert p.grad.any(), name


def test_recipes_take_it_by_name():
    settings = Settings(prior="hierarchical-prior(upper_dim=1, hidden=[4])", latent_dim=3, hidden=(8,))
    prior = build_seeded(vae, (1, 4, 4), settings, seed=0).model.prior
    assert (prior.upper_dim, prior.lower_dim) == (1, 2)
    assert HierarchicalPrior(5).upper_dim == 2


def test_flow_priors_are_not_made_from_text():
    with pytest.raises(InputError, match=r"flow-prior.*transforms"):
        build_seeded(vae, (1, 4, 4), Settings(prior="flow-prior", latent_dim=3, hidden=(8,)), seed=0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"latent_dim": 1}, r"upper_dim is 0 of 1 latent dimensions: each of the two levels needs one"),
        ({"latent_dim": 4, "upper_dim": 4}, r"upper_dim is 4 of 4 latent dimensions"),
        ({"latent_dim": 4, "upper_dim": 0}, r"upper_dim is 0: expected positive whole numbers"),
        ({"latent_dim": 4, "hidden": ()}, r"hidden is \(\)"),
        ({"latent_dim": 0}, r"latent_dim is 0"),
    ],
)
def test_what_is_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        HierarchicalPrior(**arguments)


def test_decoders_of_other_sizes_are_refused(prior):
    with pytest.raises(InputError, match="the decoder does not take latents of the prior's size 5"):
        VAE(LastCoordinates(MLPDecoder(4, SHAPE), LOWER), prior.float(), Gaussian())
    with pytest.raises(InputError, match="size is 0"):
        LastCoordinates(nn.Linear(2, 2), 0)
