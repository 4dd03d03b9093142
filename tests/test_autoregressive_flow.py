"""The autoregressive flow prior: exact densities, exact draws, and its equivalence to a flow posterior."""

import pytest
import torch
from linear_gaussian import LinearGaussian, inverse_positive
from torch import nn
from torch.autograd.functional import jacobian

from pyro_vaes import VAE
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import log_weights
from pyro_vaes.guides import InverseAutoregressiveFlow, Laplace, MeanField
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.losses import ELBO
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import AutoregressiveFlow, StandardNormal
from pyro_vaes.testing import PRIOR_CHECKS, pair
from pyro_vaes.testing.guides import gradients_are_finite
from pyro_vaes.testing.priors import PAIR_CHECKS

SHAPE, BATCH, SIZE = (6,), 5, 4
STEPS = ["mean", "affine", "gated"]
every_step = pytest.mark.parametrize("step", STEPS)


def scattered(module):
    """In float64, far from its first weights."""
    with torch.no_grad():
        for p in module.double().parameters():
            p.copy_(torch.randn_like(p) / max(1, p.shape[-1]) ** 0.5)
    return module


def to_noise(prior, z):
    for step in prior.steps():
        z = step(z)
    return z


def from_noise(prior, eps):
    for step in reversed(prior.steps()):
        eps = step.inv(eps)
    return eps


@every_step
def test_density_equals_autograd(step):
    prior = scattered(AutoregressiveFlow(SIZE, flows=3, hidden=(9,), step=step))
    z = 2 * torch.randn(BATCH, SIZE).double()
    log_determinant = torch.stack(
        [torch.linalg.slogdet(jacobian(lambda row: to_noise(prior, row), row)).logabsdet for row in z]
    )
    normal = StandardNormal(SIZE).double()()
    expected = normal.log_prob(to_noise(prior, z)) + log_determinant
    torch.testing.assert_close(prior().log_prob(z), expected, rtol=0, atol=1e-8)
    if step == "mean":
        assert log_determinant.abs().max() < 1e-10


@every_step
def test_a_sampled_flow_inverts(step):
    prior = AutoregressiveFlow(SIZE, flows=4, hidden=(32,), step=step)
    torch.manual_seed(3)
    z = prior().sample((50,))
    torch.manual_seed(3)
    eps = torch.randn(50, SIZE)
    torch.testing.assert_close(to_noise(prior, z), eps, rtol=0, atol=1e-5)
    torch.testing.assert_close(from_noise(prior, eps), z, rtol=0, atol=1e-5)


class Deeper(nn.Module):
    """The decoder of a model whose latent is the noise of a flow prior."""

    def __init__(self, prior, decoder):
        super().__init__()
        self.prior, self.decoder = prior, decoder

    def forward(self, eps):
        return self.decoder(from_noise(self.prior, eps))


def test_flow_prior_and_flow_posterior_give_one_elbo():
    prior = scattered(AutoregressiveFlow(SIZE, flows=3, hidden=(9,), step="gated"))
    decoder, encoder = MLPDecoder(SIZE, SHAPE, hidden=(8,)).double(), MLPEncoder(SHAPE, hidden=(8,)).double()
    plain = VAE(decoder, prior, Gaussian(0.5).double())
    deeper = VAE(Deeper(prior, decoder), StandardNormal(SIZE).double(), plain.likelihood)
    mean_field = MeanField(plain, encoder).double()
    flow = InverseAutoregressiveFlow(deeper, encoder, flows=3, hidden=(9,)).double()
    flow.head.load_state_dict(mean_field.head.state_dict())
    for copy, network in zip(flow.flows, prior.flows, strict=True):
        copy.load_state_dict(network.state_dict() | {"context.weight": torch.zeros_like(copy.context.weight)})
    x, values = torch.randn(BATCH, *SHAPE).double(), []
    for each in ((plain, mean_field), (deeper, flow)):
        torch.manual_seed(7)
        values.append(ELBO(num_particles=3).objective(*each, x)[0])
    assert values[0].abs().min() > 1  # something is compared
    torch.testing.assert_close(*values, rtol=0, atol=1e-5)


def test_flow_without_weights_is_the_standard_normal():
    exact = LinearGaussian()
    prior = AutoregressiveFlow(exact.latent_dim, flows=2, step="affine").double()
    with torch.no_grad():
        for p in prior.parameters():
            p.zero_()
    z = torch.randn(7, exact.latent_dim).double()
    torch.testing.assert_close(prior().log_prob(z), exact.vae.prior().log_prob(z))
    torch.testing.assert_close(prior.score(z), -z)
    torch.testing.assert_close(prior.precision(z), torch.eye(exact.latent_dim).double().expand(7, -1, -1))
    vae = VAE(exact.vae.decoder, prior, Gaussian(0.5, learn=False).double())
    guide = exact.set_optimal(MeanField(vae, exact.encoder), inverse_positive(exact.mean_field_scale))
    draws = log_weights(vae, guide, exact.x, 5000).detach()
    error = (draws.mean(0) - (exact.log_evidence - exact.mean_field_gap)).abs()
    assert (error < 5 * draws.std(0) / 5000**0.5).all()


@pytest.mark.parametrize("check", [*PRIOR_CHECKS, *PAIR_CHECKS], ids=lambda check: check.__name__)
@every_step
def test_contract(check, step):
    check(lambda: pair(prior=lambda size: AutoregressiveFlow(size, flows=2, hidden=(8,), step=step)))


@every_step
def test_laplace_fits(step):
    def build():
        return pair(
            lambda *parts: Laplace(*parts, updates=1), prior=lambda size: AutoregressiveFlow(size, 2, (8,), step)
        )

    gradients_are_finite(build)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent_dim": 1}, "latent_dim is 1.*latent_dim=2 or more"),
        ({"latent_dim": 3, "flows": 0}, "flows is 0"),
        ({"latent_dim": 3, "hidden": ()}, "hidden is"),
        ({"latent_dim": 3, "step": "afine"}, "did you mean 'affine'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        AutoregressiveFlow(**arguments)
